#!/bin/bash
# The rules: promtool takes them, and tests that each alert fires and does not; no alert or record is left without a test, and
# what the tests feed to them has the shape that /metrics has. usage: rules.sh SOURCE_DIR ALL_METRICS
set -u
rules=$1/monitoring/hs-share.rules.yml tests=$1/tests/monitoring/hs-share.rules.test.yml failed=0
command -v promtool >/dev/null || { echo 'SKIPPED monitoring_rules: promtool is not installed (Debian package prometheus)'; exit 77; }
fail() {
	echo "FAILED: $1"
	failed=1
}
shapes=$(mktemp) fed=$(mktemp)
trap 'rm -f "$shapes" "$fed"' EXIT

promtool check rules "$rules" || fail 'promtool does not take the rules'
promtool test rules "$tests" || fail 'an alert or a record is not as it should be'

alerts=$(sed -n 's/^ *- alert: //p' "$rules")
for alert in $alerts; do
	grep -q "exp_samples: \[\]" <(grep -F "ALERTS{alertname=\"$alert\",alertstate=\"firing\"}" "$tests") || fail "no test that $alert does not fire"
	grep -q "labels: 'ALERTS{alertname=\"$alert\"" "$tests" || fail "no test that $alert fires"
done
[ "$alerts" = "$(sed -nE 's/^[|] (HsShare[A-Za-z]*) [|] .*/\1/p' "$1/docs/operators-guide.md")" ] || fail 'the operators guide lists other alerts, or in another order'
[ "$(wc -w <<<"$alerts")" -gt 10 ] || fail 'there are few alerts'
for record in $(sed -n 's/^ *- record: //p' "$rules"); do
	grep -qF "labels: '$record{" "$tests" || fail "no test of $record"
done
for word in $(grep -oE '(reason|state)=~?"[^"]*"' "$rules" | sed 's/.*="*//; s/^~*"//; s/"//' | tr '|' ' '); do
	grep -qF "\"$word\"" "$1/service/common/model.c" || fail "the service has no reason or state \"$word\""
done

# NAME LABEL...: of a series, without what Prometheus adds.
shape() {
	sed -E 's/ [^ }]*$//; s/"([^"\\]|\\.)*"//g; s/[{,}=]+/ /g' | awk '{
		n = 0
		for (i = 2; i <= NF; i++) if ($i != "job" && $i != "instance") label[++n] = $i
		line = $1
		while (n) { # few: the least first
			least = 1
			for (i = 2; i <= n; i++) if (label[i] < label[least]) least = i
			line = line " " label[least]
			label[least] = label[n--]
		}
		print line
	}' | sort -u
}
"$2" | grep -v '^#' | shape >"$shapes"
# (That one is node_exporter's; textfile.sh has it.)
sed -nE "s/.*series: '([^']*)'.*/\1 0/p" "$tests" | grep -v '^node_textfile_mtime_seconds' | shape >"$fed"
[ -s "$fed" ] || fail 'nothing is fed to the rules'
odd=$(comm -13 "$shapes" "$fed")
[ -z "$odd" ] || fail "fed to the rules, and not of /metrics: $odd"
# Every metric that is named in the rules is one that is fed to them.
for name in $(sed 's/#.*//' "$rules" | grep -oE '\b(instance:|group:)?hs_share_[a-z0-9_]+' | sort -u); do
	[[ $name == *:* ]] || grep -qE "^$name( |\$)" "$fed" || grep -qE "^${name}(:|\$)" <(sed -n 's/.*record: [a-z]*://p' "$rules") || fail "$name is not fed to the rules"
done
echo "$(wc -w <<<"$alerts") alerts, $(wc -l <"$fed") series"
exit $failed
