#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What a real Prometheus and hs-share make of 4,000 guests on 100 hosts whose contents are known (many_sketches.c): scattered, where
# much is to gain, and kept together, where little is. usage: many_sketches.sh HS_SHARE HS_MANY_SKETCHES
set -u
share=$1 many=$2
HS_KSM_KEPT=untouched # no service runs here
. "$(dirname "$(readlink -f "$0")")/../service/lib.sh"
command -v prometheus >/dev/null && command -v promtool >/dev/null || { echo 'SKIPPED monitoring_fleet_many: prometheus is not installed (Debian package prometheus)'; exit 77; }
while port=$((20000 + RANDOM % 30000)) && (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
"$many" "$(($(date +%s) - 30))" >"$dir/metrics"
ok 'it can be stored' 'promtool tsdb create-blocks-from openmetrics "$dir/metrics" "$dir/data" >"$dir/promtool.log" 2>&1'
echo 'global: {}' >"$dir/prometheus.yml"
# Long enough to look back for the test to end, however busy the machine.
prometheus --config.file="$dir/prometheus.yml" --storage.tsdb.path="$dir/data" --web.listen-address="127.0.0.1:$port" \
	--query.lookback-delta=1h --query.timeout=20m --log.level=warn >"$dir/log" 2>&1 &
daemon=$!
ok 'Prometheus starts' 'until_true 120 "curl -sf -m 5 http://127.0.0.1:$port/-/ready >/dev/null"'
together() { timeout 900 "$share" fleet --url "http://127.0.0.1:$port" --timeout 600 --match "cluster=\"$1\"" --together --limit 100 --json >"$dir/$1.json" && jq -c '.together.groups[0]' "$dir/$1.json" >"$dir/$1.group"; }
group() { jq -e "$2" "$dir/$1.group" >/dev/null || { jq -c 'del(.pairs)' "$dir/$1.group"; false; }; }
begin=$SECONDS
ok 'scattered' 'together scattered'
echo "4,000 guests: $((SECONDS - begin)) s"
ok 'kept together' 'together packed'
# Contents, each guest by itself: 400. Of 20,000 of families and 400,000 others one each stays, were all on one host.
for cluster in scattered packed; do
	ok 'all of them' "group $cluster '.guests == 4000 and .hosts == 100'"
	ok 'what they hold' "group $cluster '.contents_bytes / 4096 - 1600000 | fabs < 0.02 * 1600000'"
	ok 'what would go at most' "group $cluster '(.across_at_most_bytes / 4096 - 1180000 | fabs) <= 3 * .across_at_most_error_bytes / 4096 + 24000'"
done
ok 'scattered nothing is common on a host' 'group scattered "(.across_now_bytes / 4096) <= 0.02 * 1600000"'
ok 'so it is advised' 'group scattered ".advice and (.pairs | length) == 100"'
ok 'to bring families together' 'group scattered "[.pairs[] | (.guest | split(\"-\")[0]) == (.with | split(\"-\")[0]) and .on != .with_on] | all"'
# Any two of a family have 180 of 400 in common, give or take some 10: less 4.1 standard errors none is said to have more.
ok 'none is said to have surely more in common than it has' 'group scattered "[.pairs[] | (.common_bytes - 4.1 * .error_bytes) / 4096 <= 220] | all"'
ok 'kept together nearly all of it is there' 'group packed "(.across_now_bytes / 4096 - 1150000 | fabs) <= 3 * .across_now_error_bytes / 4096 + 24000"'
ok 'and there is no advice' 'group packed "(.advice | not) and .pairs == []"'
by_rule() { curl -s -m 1200 -G "http://127.0.0.1:$port/api/v1/query" --data-urlencode "query=$1"; }
ok 'the rule says the same' '[ "$(by_rule "avg by (group) (count by (group, slot) (hs_share_sketch_slot{cluster=\"packed\"} == on (group, slot) group_left () min by (group, slot) (hs_share_sketch_slot{cluster=\"packed\"})))" |
	jq "(1 - 1 / (.data.result[0].value[1] | tonumber)) * $(jq .contents_bytes "$dir/packed.group") | floor")" = "$(jq .across_at_most_bytes "$dir/packed.group")" ]'
finish
