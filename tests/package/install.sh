#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# cmake --install: below /usr, and below a prefix of its own. usage: install.sh CMAKE BUILD_DIR
set -u
cmake=$1 build=$2
keeper_option=--read-only
. "$(dirname "$(readlink -f "$0")")/../service/lib.sh"

unit_start() { sed -n 's/^ExecStart=//p' "$1"/lib/systemd/system/hs-shared.service; }

ok 'below /usr, staged' 'DESTDIR="$dir/stage" "$cmake" --install "$build" --prefix /usr >/dev/null'
s=$dir/stage
for file in usr/bin/hs-share usr/sbin/hs-shared usr/share/man/man1/hs-share.1 usr/share/man/man8/hs-shared.8 usr/share/man/man5/hs-share.conf.5 \
	usr/share/bash-completion/completions/hs-share usr/share/zsh/vendor-completions/_hs-share \
	usr/share/fish/vendor_completions.d/hs-share.fish usr/share/doc/hs-share/CHANGELOG.md usr/share/doc/hs-share/README.md usr/share/doc/hs-share/docs/operators-guide.md \
	usr/share/doc/hs-share/docs/configuration.md etc/hs-share/hs-share.conf usr/lib/systemd/system/hs-share-textfile.timer \
	usr/share/hs-share/apparmor/libvirt-qemu usr/share/hs-share/monitoring/hs-share.rules.yml usr/share/hs-share/monitoring/hs-share.grafana.json; do
	ok "$file is there" "[ -s '$s/$file' ]"
done
ok 'the whole page is there' 'diff <(cd "$(dirname "$0")/../../cockpit" && find . -type f ! -name CMakeLists.txt | sort) <(cd "$s/usr/share/cockpit/hs-share" && find . -type f | sort)'
ok 'the unit for node_exporter names the program' 'grep -q "^ExecStart=/usr/bin/hs-share metrics --textfile " "$s/usr/lib/systemd/system/hs-share-textfile.service"'
ok 'the unit starts it without more' '[ "$(unit_start "$s/usr")" = /usr/sbin/hs-shared ]'
ok 'nothing but the programs can be run' '[ "$(find "$s" -type f -perm /111 | wc -l)" = 3 ]'
ok 'every file can be read by all, and written by the owner alone' '[ -z "$(find "$s" -type f \( ! -perm -444 -o -perm /022 \))" ]'
links_hold() (
	cd "$s/usr/share/doc/hs-share" || exit
	for f in README.md docs/*.md; do
		for l in $(grep -oE "\]\([^)#:]+\)" "$f" | tr -d "()" | tr -d "]"); do
			[ -e "$(dirname "$f")/$l" ] || { echo "$f: $l"; exit 1; }
		done
	done
)
ok 'links between the documents hold' links_hold

p=$dir/prefix
ok 'below a prefix of its own' '"$cmake" --install "$build" --prefix "$p" >/dev/null'
ok 'the unit names program and configuration there' '[ "$(unit_start "$p")" = "$p/sbin/hs-shared --config $p/etc/hs-share/hs-share.conf" ]'
ok 'the line works' '$(unit_start "$p") --check-config >/dev/null'
ok 'nothing outside of it' '[ "$(ls "$dir")" = "prefix
stage" ]'
echo '# mine' >"$p/etc/hs-share/hs-share.conf"
ok 'a second time' '"$cmake" --install "$build" --prefix "$p" >/dev/null'
ok 'leaves a configuration that is there' '[ "$(cat "$p/etc/hs-share/hs-share.conf")" = "# mine" ]'
finish
