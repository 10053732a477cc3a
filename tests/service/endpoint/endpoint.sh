#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The endpoint in use: its description against its answers, and a real Prometheus that scrapes the port. The daemon
# observes one process guest: nothing is merged, but a request to unshare takes the merge engine for a moment.
# usage: endpoint.sh HS_SHARED HS_SHARE HS_GUEST YAML_JSON SOURCE_DIR
set -u
shared=$1 share=$2 guest=$3 yaml_json=$4 source=$5
here=$source/tests/service/endpoint
prometheus=
. "$here/../lib.sh"
trap '[ -z "$prometheus" ] || { kill -KILL "$prometheus"; wait "$prometheus"; } 2>/dev/null; cleanup' EXIT

# A port of the loopback that nobody answers on now.
free_port() {
	local p
	while p=$((20000 + RANDOM % 30000)) && (: <"/dev/tcp/127.0.0.1/$p") 2>/dev/null; do :; done
	echo "$p"
}

write_conf() {
	port=$(free_port)
	cat >"$dir/conf" <<-END
		[service]
		mode = observe
		socket = $sock
		state_dir = $dir/state
		tcp_port = $port
		history_resolution_s = 1
		[libvirt]
		uri = test:///default
		[discover shells]
		executable = .*/(ba|da)sh
		mount_namespace = any
		group = none
		min_memory = 1000G
		[scan]
		interval_ms = 60
		cpu_percent = 50
		min_memory = 32M
		rest_min_s = 1
		rest_max_s = 2
	END
}

# The value of a metric that Prometheus has stored; empty: it has none.
stored() { curl -s -m 10 -G "http://127.0.0.1:$prometheus_port/api/v1/query" --data-urlencode "query=$1" | jq -r '.data.result[0].value[1] // empty'; }

prometheus_check() { # GUEST
	if ! command -v prometheus >/dev/null || ! command -v promtool >/dev/null; then
		echo "SKIPPED service_endpoint prometheus: it is not installed (Debian package prometheus)"
		return
	fi
	# promtool reads the older text alone; Prometheus itself asks for OpenMetrics, and takes no line that is not right.
	ok 'promtool likes the older text' 'request http://x/metrics | promtool check metrics'
	prometheus_port=$(free_port)
	cat >"$dir/prometheus.yml" <<-END
		global: { scrape_interval: 1s, scrape_timeout: 1s }
		scrape_configs:
		  - job_name: hs-share
		    static_configs: [ { targets: [ "127.0.0.1:$port" ] } ]
	END
	ok 'promtool likes the configuration' 'promtool check config "$dir/prometheus.yml" >/dev/null'
	prometheus --config.file="$dir/prometheus.yml" --storage.tsdb.path="$dir/prometheus" \
		--web.listen-address="127.0.0.1:$prometheus_port" --log.level=warn >"$dir/prometheus.log" 2>&1 &
	prometheus=$!
	ok 'Prometheus scrapes the port' 'until_true 40 "[ \"\$(stored up)\" = 1 ]" || { tail -5 "$dir/prometheus.log"; false; }'
	ok 'and has the version' '[ "$(stored "count(hs_share_build_info{version=\"$("$shared" --version | sed "s/.* //")\"})")" = 1 ]'
	ok 'the mode' '[ "$(stored "hs_share_mode{hs_share_mode=\"observe\"}")" = 1 ]'
	ok 'a counter' '[ "$(stored hs_share_cycles_total)" -gt 0 ]'
	ok 'a guest, with its group' "[ \"\$(stored 'hs_share_guest_memory_bytes{guest=\"$1\",group=\"web\"}')\" = \"\$(request http://x/v1/guests/$1 | jq .memory_bytes)\" ]"
	ok 'the format that it asked for was OpenMetrics' '[ "$(stored "scrape_samples_scraped")" -gt 50 ] && curl -s -m 5 "http://127.0.0.1:$prometheus_port/api/v1/metadata?metric=hs_share_cycles" | jq -e ".data.hs_share_cycles[0].type == \"counter\"" >/dev/null'
	kill -TERM "$prometheus"
	wait "$prometheus"
	prometheus=
}

. "$here/openapi.sh"

start_guest 1
guest_is_up 1
guest_pid=${pids[1]}
write_conf
ok 'it starts' 'start_daemon'
request -X PUT -H 'Content-Type: application/json' -d '{"group":"web"}' "http://x/v1/guests/pid-$guest_pid/opt-in" >/dev/null
ok 'its guest is looked at' 'until_true 30 "request http://x/v1/guests/pid-$guest_pid | jq -e .report.content.known_pages >/dev/null && [ \$(request http://x/v1/status | jq .scan.cycles) -gt 0 ]"'
ok 'the history has begun' 'until_true 10 "[ \$(request http://x/v1/history | jq \".points | length\") -gt 0 ]"'
prometheus_check "pid-$guest_pid"
openapi_check "pid-$guest_pid"
ok 'SIGTERM ends it in order' stop_daemon
finish
