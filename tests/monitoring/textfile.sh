#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The figures as a file for node_exporter: what promtool takes, put in place as a whole, passed on by a real node_exporter, and
# gone when the service is. The daemon observes, and has no guests. usage: textfile.sh HS_SHARED HS_SHARE
set -u
shared=$1 share=$2 exporter=
keeper_option=--read-only # without guests, in mode observe, KSM is not used
. "$(dirname "$(readlink -f "$0")")/../service/lib.sh"
trap '[ -z "$exporter" ] || { kill -KILL "$exporter"; wait "$exporter"; } 2>/dev/null; cleanup' EXIT

conf_service observe keep >"$dir/conf"
folder=$dir/textfiles file=$dir/textfiles/hs-share.prom
mkdir "$folder"
chmod 777 "$folder" # as if it was another user's
ok 'it starts' start_daemon
ok 'to standard output' 'hs metrics | promtool check metrics'
ok 'to a file' 'hs metrics --textfile "$file"'
ok 'which promtool likes' 'promtool check metrics <"$file"'
ok 'and anybody may read' '[ "$(stat -c %a "$file")" = 644 ]'
ok 'with the names that /metrics has' 'diff <(sed "s/[ {].*//" "$file" | sort -u) <(request http://x/metrics | sed "s/[ {].*//" | sort -u)'
ok 'nothing else is left' '[ "$(ls -A "$folder")" = hs-share.prom ]'

# As a whole: who has the one of before open has all of it, and the new one is another.
exec 3<"$file"
inode=$(stat -c %i "$file")
ok 'a second one takes its place' 'hs metrics --textfile "$file" && [ "$(stat -c %i "$file")" != "$inode" ]'
ok 'the first one is still whole' '[ "$(grep -c "^hs_share_build_info" <&3)" = 1 ]'
exec 3<&-
echo kept >"$dir/other"
ln -sf "$dir/other" "$file"
ok 'a link is replaced, not followed' 'hs metrics --textfile "$file" && [ ! -L "$file" ] && [ "$(cat "$dir/other")" = kept ]'
for name in hs-share.txt .prom hs-share; do
	ok "not as $name, which node_exporter does not read" "hs metrics --textfile '$folder/$name' 2>/dev/null; [ \$? = 2 ] && [ ! -e '$folder/$name' ]"
done
ok 'a folder that is not there' 'hs metrics --textfile "$dir/none/hs-share.prom" 2>"$dir/said"; [ $? = 1 ] && grep -q "folder has to be there" "$dir/said"'
ok 'a disk that is full' '! (ulimit -f 1; trap "" XFSZ; exec "$share" metrics --socket "$sock" --textfile "$file" 2>/dev/null) && [ -z "$(ls -A "$folder")" ]'

if command -v prometheus-node-exporter >/dev/null; then
	while port=$((20000 + RANDOM % 30000)) && (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
	hs metrics --textfile "$file"
	prometheus-node-exporter --collector.disable-defaults --collector.textfile --collector.textfile.directory="$folder" \
		--web.listen-address="127.0.0.1:$port" --log.level=warn >"$dir/exporter.log" 2>&1 &
	exporter=$!
	passed_on() { curl -s -m 10 "http://127.0.0.1:$port/metrics"; }
	ok 'node_exporter passes it on' 'until_true 60 "passed_on | grep -q ^hs_share_build_info" || { cat "$dir/exporter.log"; false; }'
	ok 'all of it' '[ -z "$(comm -13 <(passed_on | grep ^hs_share_ | sed "s/[ {].*//" | sort -u) <(grep ^hs_share_ "$file" | sed "s/[ {].*//" | sort -u))" ]'
	ok 'without error' 'passed_on | grep -qx "node_textfile_scrape_error 0"'
	ok 'and says how old it is, as a rule of ours has it' 'passed_on | grep -qE "^node_textfile_mtime_seconds\{file=\"[^\"]*/hs-share\.prom\"\} "'
else
	echo 'SKIPPED monitoring_textfile node_exporter: it is not installed (Debian package prometheus-node-exporter)'
fi
ok 'SIGTERM ends it in order' stop_daemon
ok 'without the service' 'hs metrics --textfile "$file" 2>/dev/null; [ $? = 3 ]'
ok 'the file is gone' '[ -z "$(ls -A "$folder")" ]'
[ -z "$exporter" ] || ok 'and with it its figures' '! passed_on | grep -q ^hs_share_'
finish
