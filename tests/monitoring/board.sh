#!/bin/bash
# The Grafana board: each of its queries is asked of a real Prometheus that has every metric of /metrics, and has to have an
# answer, with the labels that its legend names. A metric or a label that does not exist has none.
# usage: board.sh SOURCE_DIR ALL_METRICS
set -u
board=$1/monitoring/hs-share.grafana.json failed=0 prometheus=
for program in prometheus promtool; do
	command -v $program >/dev/null || { echo "SKIPPED monitoring_board: $program is not installed (Debian package prometheus)"; exit 77; }
done
dir=$(mktemp -d)
trap '[ -z "$prometheus" ] || { kill -KILL "$prometheus"; wait "$prometheus"; } 2>/dev/null; rm -rf "$dir"' EXIT
trap 'exit 143' INT TERM HUP
fail() {
	echo "FAILED: $1"
	failed=1
}

# An hour of one host, a sample a minute; what only grows, grows by one a second.
end=$(($(date +%s) - 600))
"$2" | awk -v end=$end '
	/^# EOF/ { next }
	/^#/ { print; next }
	{
		value = $NF
		name = substr($0, 1, length($0) - length(value) - 1)
		if (sub(/\}$/, "", name)) name = name ","; else name = name "{"
		for (t = -3600; t <= 0; t += 60)
			printf "%sjob=\"hs-share\",instance=\"a\"} %.15g %d\n", name, name ~ /_total\{/ ? value + 3600 + t : value, end + t
	}
	END { print "# EOF" }' >"$dir/metrics"
promtool tsdb create-blocks-from openmetrics "$dir/metrics" "$dir/data" >"$dir/log" 2>&1 || { tail -3 "$dir/log"; fail 'the metrics cannot be stored'; exit 1; }
while port=$((20000 + RANDOM % 30000)) && (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
echo 'global: {}' >"$dir/prometheus.yml"
prometheus --config.file="$dir/prometheus.yml" --storage.tsdb.path="$dir/data" --web.listen-address="127.0.0.1:$port" \
	--log.level=warn >"$dir/log" 2>&1 &
prometheus=$!
deadline=$((SECONDS + 60))
until curl -sf -m 5 "http://127.0.0.1:$port/-/ready" >/dev/null; do
	[ $SECONDS -lt $deadline ] || { cat "$dir/log"; fail 'Prometheus does not start'; exit 1; }
	sleep 0.2
done
query() { curl -s -m 20 -G "http://127.0.0.1:$port/api/v1/query" --data-urlencode "query=$1" -d "time=$end"; }
[ "$(query 'hs_share_nothing_of_that_name' | jq '.data.result | length')" = 0 ] || fail 'a metric that is none has an answer'

# ---- each query, as Grafana would ask it: all in one run of curl, all looked at in one of jq
jq '[.panels[] | .title as $title | .targets[]? | {title: $title, legendFormat,
	expr: (.expr | gsub("\\$__rate_interval"; "5m") | gsub("\\$instance"; ".*"))}]' "$board" >"$dir/targets"
jq -r --arg at "http://127.0.0.1:$port/api/v1/query" --arg when "$end" '.[] |
	"next\nsilent\nget\nmax-time = 20\nurl = \($at)\ndata = \"time=\($when)\"\ndata-urlencode = \("query=" + .expr | tojson)"' "$dir/targets" >"$dir/curl"
sed -i 1d "$dir/curl"
curl -K "$dir/curl" >"$dir/answers"
nr=$(jq length "$dir/targets")
[ "$nr" -gt 20 ] || fail "only $nr queries were found"
# Of each the labels that its legend names, and those that it sums by.
wrong=$(jq -rn --slurpfile targets "$dir/targets" --slurpfile answers "$dir/answers" '
	if ($targets[0] | length) != ($answers | length) then "\($answers | length) answers" else
	range($targets[0] | length) as $i | $targets[0][$i] as $t | $answers[$i] as $a |
	if $t.expr | contains("$") then "\($t.title): a variable that nobody sets: \($t.expr)"
	elif $a.status != "success" or ($a.data.result | length) == 0 then "\($t.title): no answer to \($t.expr): \($a.error)"
	else ([$t.legendFormat | scan("{{([a-z_]+)}}")[0]] + [$t.expr | scan("\\bby \\(([^)]*)\\)")[0] | splits(", *")])[] as $name |
		select([$a.data.result[].metric | has($name)] | all | not) | "\($t.title): there is no label \($name) in \($t.expr)"
	end end') || fail 'the answers cannot be read'
[ -z "$wrong" ] || fail "$wrong"
# The list of hosts.
variable=$(jq -r '.templating.list[] | select(.name == "instance") | .query.query' "$board")
[[ $variable =~ ^label_values\(([a-z_]+),\ ([a-z_]+)\)$ ]] && [ "$(query "${BASH_REMATCH[1]}" | jq -r ".data.result[0].metric.${BASH_REMATCH[2]}")" = a ] ||
	fail "the list of hosts finds none: $variable"

# ---- its own form
jq -e '[.panels[].id] | length == (unique | length)' "$board" >/dev/null || fail 'two panels have one id'
jq -e '[.panels[] | select(.type != "row") | .description | length > 20] | all' "$board" >/dev/null || fail 'a panel does not say what it shows'
jq -e '[.panels[] | select(.type != "row") | .datasource.uid == "${datasource}" and ([.targets[].datasource.uid == "${datasource}"] | all)] | all' "$board" >/dev/null ||
	fail 'a panel asks a data source of its own'
jq -e '[.panels[].gridPos | .x >= 0 and .x + .w <= 24] | all' "$board" >/dev/null || fail 'a panel is outside of the grid'
overlap=$(jq -r '[.panels[] | {title, g: .gridPos}] as $p | [range($p | length)] as $n | $n[] as $i | $n[] as $j | select($i < $j) |
	$p[$i].g as $a | $p[$j].g as $b |
	select($a.x < $b.x + $b.w and $b.x < $a.x + $a.w and $a.y < $b.y + $b.h and $b.y < $a.y + $a.h) | "\($p[$i].title) and \($p[$j].title)"' "$board")
[ -z "$overlap" ] || fail "panels lie on one another: $overlap"
kill -TERM "$prometheus"
wait "$prometheus" 2>/dev/null
prometheus=
echo "$nr queries have answers"
exit $failed
