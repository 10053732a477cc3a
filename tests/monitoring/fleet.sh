#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A fleet on one machine: two services in mode observe, each with a state folder and guests of its own, a real Prometheus and a real
# VictoriaMetrics that ask them. What `hs-share fleet` says against what the guests are known to hold, by the rules as well; and
# what it says when something is wrong. usage: fleet.sh HS_SHARED HS_SHARE HS_GUEST SOURCE_DIR
set -u
shared=$1 share=$2 guest=$3 source=$4
HS_KSM_KEPT=untouched # mode observe merges nothing: nothing of the machine's is to be kept
. "$(dirname "$(readlink -f "$0")")/../service/lib.sh"
command -v prometheus >/dev/null || { echo 'SKIPPED monitoring_fleet: prometheus is not installed (Debian package prometheus)'; exit 77; }
declare -a daemons=()
stop_all() { for p in "${daemons[@]}"; do kill -TERM "$p" 2>/dev/null; done; for p in "${daemons[@]}"; do wait "$p" 2>/dev/null; done; }
trap 'stop_all; cleanup' EXIT
free_port() { while port=$((20000 + RANDOM % 30000)) && (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done; }

# ---- two hosts, of each two guests: 1 and 3 are of one family, 2 and 4 of another. Of 16 huge pages all are cold: of their base
# pages 60 of a hundred are the family's, 10 are zeros, 30 are the guest's own.
pages=$((16 * 512)) of_family=$((16 * 512 * 60 / 100)) contents=$((16 * 512 * 90 / 100))
for i in 1 2 3 4; do
	mkfifo "$dir/in$i"
	"$guest" --seed=$i --common-seed=$((i % 2)) --huge=16 --hot=0 --bloat=0 --rate=1000 <"$dir/in$i" >"$dir/out$i" 2>&1 &
	pids[$i]=$!
	exec {ins[$i]}>"$dir/in$i"
done
openssl rand -hex 32 >"$dir/fleet.key"
chmod 600 "$dir/fleet.key"
declare -A tcp=() socket=()
start_host() { # NAME
	free_port
	tcp[$1]=$port
	socket[$1]=$dir/$1.sock
	{
		sock=${socket[$1]} dir=$dir/$1 conf_service observe keep | sed "/^on_exit/a tcp_port = $port\nfleet_key_file = $dir/fleet.key"
		conf_quick_scan 100 90
	} >"$dir/$1.conf"
	mkdir "$dir/$1"
	"$shared" -c "$dir/$1.conf" >>"$dir/$1.log" 2>&1 &
	daemons+=($!)
	logs+=("$dir/$1.log")
}
start_host a
start_host b
at() { timeout 60 "$share" "${@:2}" --socket "${socket[$1]}"; }
for host in a b; do ok "host $host starts" "until_true 20 'at $host status >/dev/null 2>&1'"; done
for i in 1 2; do guest_is_up $i 16; at a opt-in --pid "${pids[$i]}" --group web >/dev/null; done
for i in 3 4; do guest_is_up $i 16; at b opt-in --pid "${pids[$i]}" --group web >/dev/null; done

# ---- the key, and who has none
key_is_refused() { # SAYS
	sed "s|^fleet_key_file = .*|fleet_key_file = $dir/wrong.key|" "$dir/a.conf" >"$dir/wrong.conf"
	! "$shared" -c "$dir/wrong.conf" --check-config >/dev/null 2>"$dir/said" && grep -qF "$1" "$dir/said"
}
cp "$dir/fleet.key" "$dir/wrong.key"
chmod 644 "$dir/wrong.key"
ok 'a key that all may read' 'key_is_refused "chmod 600"'
chmod 600 "$dir/wrong.key"
ok 'the same for root alone' '! key_is_refused ""'
echo "$(cat "$dir/fleet.key")0" >"$dir/wrong.key"
ok 'no key' 'key_is_refused "openssl rand -hex 32"'
rm "$dir/wrong.key"
ok 'no file' 'key_is_refused "cannot read"'
ok 'by the command, as a file as well' 'at a metrics --sketch >"$dir/metrics" && grep -q ^hs_share_sketch_key_info "$dir/metrics" && ! grep -q ^hs_share_build_info "$dir/metrics" && at a metrics --sketch --textfile "$dir/a.prom" && grep -q ^hs_share_sketch_key_info "$dir/a.prom"'
sed "/^fleet_key_file/d; /^tcp_port/d; s|$dir/a.sock|$dir/none.sock|; s|$dir/a/|$dir/none/|" "$dir/a.conf" >"$dir/none.conf"
mkdir "$dir/none"
"$shared" -c "$dir/none.conf" >>"$dir/none.log" 2>&1 &
daemons+=($!)
socket[none]=$dir/none.sock
ok 'without one there are none' "until_true 20 'at none status >/dev/null 2>&1' && ! at none metrics --sketch 2>$dir/said && grep -q fleet_key_file $dir/said"

# ---- who asks them
cat >"$dir/prometheus.yml" <<-END
	global: { scrape_interval: 1s, evaluation_interval: 1s }
	rule_files: [ $source/monitoring/hs-share.rules.yml ]
	scrape_configs:
	  - job_name: hs-share
	    static_configs: [ { targets: [ "127.0.0.1:${tcp[a]}", "127.0.0.1:${tcp[b]}" ] } ]
	  - job_name: hs-share-sketch
	    metrics_path: /metrics/sketch
	    static_configs: [ { targets: [ "127.0.0.1:${tcp[a]}", "127.0.0.1:${tcp[b]}" ] } ]
END
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost \
	-keyout "$dir/tls.key" -out "$dir/tls.pem" 2>/dev/null
printf 'tls_server_config: { cert_file: %s, key_file: %s }\n' "$dir/tls.pem" "$dir/tls.key" >"$dir/web.yml"
free_port
prometheus=https://localhost:$port
prometheus --config.file="$dir/prometheus.yml" --storage.tsdb.path="$dir/data" --web.listen-address="127.0.0.1:$port" \
	--web.config.file="$dir/web.yml" --log.level=warn >"$dir/prometheus.log" 2>&1 &
daemons+=($!)
victoria=
if command -v victoria-metrics >/dev/null; then
	free_port
	victoria=http://127.0.0.1:$port
	sed '/^rule_files/d; s/, evaluation_interval: 1s//' "$dir/prometheus.yml" >"$dir/victoria.yml"
	victoria-metrics -promscrape.config="$dir/victoria.yml" -storageDataPath="$dir/victoria" -httpListenAddr="127.0.0.1:$port" \
		-search.latencyOffset=1s -loggerLevel=WARN >"$dir/victoria.log" 2>&1 &
	daemons+=($!)
else
	echo 'SKIPPED monitoring_fleet VictoriaMetrics: it is not installed (Debian package victoria-metrics)'
fi

# ---- the hosts, and what their guests have in common
fleet() { timeout 100 "$share" fleet --url "$1" ${ca:+--ca "$ca"} "${@:2}"; }
sketched() { [ "$(curl -s -m 10 "http://127.0.0.1:${tcp[$1]}/metrics/sketch" | grep -c '^hs_share_sketch_slot{')" = 128 ]; }
for host in a b; do ok "host $host has sketches of both guests" "until_true 60 'sketched $host'"; done
ok 'nothing is changed in a guest' 'for p in "${pids[@]}"; do [ "$(mergeable $p)" = 0 ] || false; done'
# near KEY TRUTH ERROR_KEY OBJECT: within three standard errors, and a tenth for the sizes
near() { jq -e ".$1 - $2 * 4096 | fabs <= 3 * (\$o.$3) + $2 * 410" --argjson o "$4" <<<"$4" >/dev/null || { echo "$1: $(jq ".$1, .$3" <<<"$4" | xargs), true $(($2 * 4096))"; false; }; }
check_fleet() { # URL
	local url=$1 json=$dir/fleet.json group
	ok 'all of it comes in' "until_true 60 'fleet $url --json --together >$json 2>$dir/said && jq -e \".together.groups[0].guests == 4 and (.hosts | length) == 2\" $json >/dev/null' || { cat $dir/said; false; }"
	ok 'figures of both hosts' "jq -e '[.hosts[] | .mode == \"observe\" and .gone == false and .guests == 2 and .memory_bytes > 0 and .could_save_bytes > 0 and (has(\"saved_bytes\") | not)] | all' $json >/dev/null"
	ok 'the totals' "jq -e '.total.guests == 4 and .total.could_save_bytes == ([.hosts[].could_save_bytes] | add) and (.versions | add) == 2' $json >/dev/null"
	group=$(jq -c '.together.groups[0]' "$json")
	ok 'what the guests hold' "near contents_bytes $((4 * contents)) none '$(jq -c '.none = 0' <<<"$group")'"
	ok 'nothing is common on a host' "near across_now_bytes 0 across_now_error_bytes '$group'"
	ok 'what would be on one' "near across_at_most_bytes $((2 * of_family)) across_at_most_error_bytes '$group'"
	ok 'it is advised' "jq -e '.advice and (.pairs | length) == 2' <<<'$group' >/dev/null"
	ok 'of the same family' "jq -e --arg a pid-${pids[1]} --arg b pid-${pids[3]} '[.pairs[] | select(.guest == \$a or .guest == \$b) | .with == \$a or .with == \$b] == [true]' <<<'$group' >/dev/null"
	ok 'with what they have in common' "near 'pairs[0].common_bytes' $of_family 'pairs[0].error_bytes' '$group'"
	ok 'in a table' "fleet $url --together >$dir/table && grep -q '^next ' $dir/table && grep -q 'TOGETHER WITH' $dir/table && grep -q 'pid-${pids[1]}' $dir/table"
	ok 'no advice where less is to gain than asked for' "fleet $url --together --at-least 100 >$dir/table && grep -q 'no advice' $dir/table && ! grep -q 'TOGETHER WITH' $dir/table"
	ok 'one host alone' "[ \"\$(fleet $url --match 'instance=\"127.0.0.1:${tcp[a]}\"' --json | jq '.hosts | length')\" = 1 ]"
	cp "$json" "$dir/last.json"
}
# A small host is a large part of its memory: the next one to turn on stands there only where it is a hundredth.
ca=$dir/tls.pem
check_fleet "$prometheus"
[ ! -s "$dir/last.json" ] || echo "common to all on one host: $(jq -c '.together.groups[0] | [.across_at_most_bytes, .across_at_most_error_bytes]' "$dir/last.json"), true $((2 * of_family * 4096))"
by_rule() { curl -s -m 20 --cacert "$ca" -G "$prometheus/api/v1/query" --data-urlencode "query=$1" | jq -r '.data.result[0].value[1] | tonumber | floor'; }
ok 'the rules say the same' 'until_true 30 "[ \"\$(by_rule group:hs_share_across_at_most_bytes:sum)\" = \"\$(jq .together.groups[0].across_at_most_bytes $dir/last.json)\" ]"'
ok 'also of what is now' '[ "$(by_rule group:hs_share_across_now_bytes:sum)" = "$(jq .together.groups[0].across_now_bytes "$dir/last.json")" ]'
ca=
[ -z "$victoria" ] || check_fleet "$victoria"

# ---- a host that gives no figures any more
kill -TERM "${daemons[1]}"
wait "${daemons[1]}" 2>/dev/null
ca=$dir/tls.pem
ok 'is shown as gone' "until_true 60 'fleet $prometheus --json >$dir/gone.json && jq -e \".hosts | map(select(.gone)) | length == 1 and .[0].trouble == \\\"no-figures\\\"\" $dir/gone.json >/dev/null' && jq -e '.total.guests == 2' $dir/gone.json >/dev/null"
ca=

# ---- what is wrong, and the way out
wrong() { # WHAT SAYS OPTION...
	local status=0
	timeout 60 "$share" fleet "${@:3}" >"$dir/table" 2>"$dir/said" || status=$?
	ok "$1" "[ $status = 1 ] && grep -qF -- '$2' '$dir/said' && [ ! -s '$dir/table' ] || { cat '$dir/said'; false; }"
}
free_port
wrong 'nobody answers' 'is Prometheus running there' --url "http://127.0.0.1:$port"
wrong 'an unknown host' 'no host of the name' --url http://nobody.invalid
wrong 'no URL' 'is no URL of a Prometheus' --url prometheus.example:9090
wrong 'an untrusted certificate' '--ca' --url "$prometheus"
wrong 'no TLS there' 'https' --url "https://127.0.0.1:${tcp[a]}"
wrong 'a wrong path' 'what stands before /api' --url "$prometheus/elsewhere" --ca "$dir/tls.pem"
wrong 'something else' 'there is no Prometheus' --url "http://127.0.0.1:${tcp[a]}"
wrong 'no such hosts' '--match fits' --url "$prometheus" --ca "$dir/tls.pem" --match 'job="none"'
wrong 'no sketches' 'fleet_key_file' --url "$prometheus" --ca "$dir/tls.pem" --match 'job="hs-share"' --together
wrong 'no matchers' '--match takes matchers' --url "$prometheus" --ca "$dir/tls.pem" --match 'east'
wrong 'no token file' "--token-file: cannot read $dir/nowhere" --url "$prometheus" --token-file "$dir/nowhere"
echo secret >"$dir/token"
chmod 644 "$dir/token"
wrong 'a token that all may read' 'chmod 600' --url "$prometheus" --token-file "$dir/token"
ok 'wrong use' '"$share" fleet --limit 3 2>/dev/null; [ $? = 2 ]'
finish
