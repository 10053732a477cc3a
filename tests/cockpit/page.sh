#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The page in a real browser (Debian's chromium, driven by playwright-core) behind a real cockpit-ws, with a real hs-shared on its
# default socket and real guests.
#   observe: all that takes no KSM: the page as it is read, by keyboard, by axe, in light, dark and on a phone; and what it says
#            where the service does not run, goes away, or refuses
#   save:    two guests are opted in by the page, the saving rises, the mode is switched off, and it is undone
# usage: page.sh observe|save SOURCE_DIR BUILD_DIR HS_SHARED HS_SHARE HS_GUEST [FOLDER_FOR_SCREENSHOTS]
set -u
skip() { echo "SKIPPED cockpit page: $1"; exit 77; }
part=$1 source=$(readlink -f "$2") build=$3 shared=$4 share=$5 guest=$6 pictures=${7-}
cockpit_ws=/usr/lib/cockpit/cockpit-ws
[ "$(id -u)" = 0 ] || skip 'not root'
for program in node npm chromium cockpit-bridge; do command -v $program >/dev/null || skip "no $program"; done
[ -x $cockpit_ws ] || skip 'no cockpit-ws'
# In a mount namespace of its own: the default socket is the test's, and a configuration of this machine is not seen.
if [ -z "${HS_PAGE_INSIDE-}" ]; then
	unshare -m true 2>/dev/null || skip 'no mount namespaces'
	HS_PAGE_INSIDE=yes exec unshare -m --propagation private "$0" "$@"
fi

mkdir -p "$build"
cp "$source"/tests/cockpit/{package.json,package-lock.json} "$build/"
[ -d "$build/node_modules/playwright-core" ] && [ -d "$build/node_modules/axe-core" ] ||
	(cd "$build" && timeout 240 npm ci --ignore-scripts --no-audit --no-fund >npm.log 2>&1) || skip "npm cannot install what tests/cockpit/package.json names: $(tail -1 "$build/npm.log")"
cp "$source"/tests/cockpit/*.mjs "$build/"

[ "$part" = save ] || HS_KSM_KEPT=untouched # in mode observe KSM is not used: nothing of the machine's is to be kept
. "$source/tests/service/lib.sh"
mkdir -p /run/hs-share
mount -t tmpfs -o mode=700 tmpfs /run/hs-share || skip 'no tmpfs can be mounted'
[ ! -d /etc/hs-share ] || mount -t tmpfs tmpfs /etc/hs-share
sock=/run/hs-share/control.sock # of [service], by default

mkdir -p "$dir/data/cockpit" "$dir/home"
cp -r "$source/cockpit" "$dir/data/cockpit/hs-share"
chmod -R a+rX "$dir"
{
	cat <<-CONF
		[service]
		mode = observe
		persistent_dir = $dir/persistent
		history_resolution_s = 5
		[libvirt]
		uri =
	CONF
	conf_quick_scan 300 50
} >"$dir/conf"

# drive SCENE ARGUMENT...: one scene of page.mjs, which counts checks of its own
scene() { (cd "$build" && XDG_DATA_HOME=$dir/data HOME=$dir/home PICTURES=$pictures timeout 900 node page.mjs "$@"); }
drive() { ok "the page: $*" "scene $*"; }

for i in 1 2; do start_guest $i 48; done
for i in 1 2; do ok "guest $i is up" "guest_is_up $i 48"; done
case $part in
observe)
	drive stopped
	ok 'the daemon runs' start_daemon
	drive tour "${pids[1]}" "${pids[2]}"
	drive keyboard "${pids[1]}"
	for look in light dark phone phone-dark shell-dark; do drive accessible $look "${pids[1]}"; done
	# It goes away under the page's eyes, and comes again.
	scene away "$dir" &
	away=$!
	until_true 120 '[ -e "$dir/seen-running" ]' && stop_daemon && touch "$dir/was-stopped"
	until_true 120 '[ -e "$dir/seen-stopped" ]' && start_daemon
	ok 'the page: away' 'wait $away'
	# Somebody who may not use the socket.
	chmod 711 "$dir"
	drive denied
	;;
save)
	ok 'the daemon runs' start_daemon
	drive save "${pids[1]}" "${pids[2]}"
	for i in 1 2; do
		ok "nothing of guest $i is shared" "[ \"\$(ksm_pages ${pids[$i]})\" = 0 ] && [ \"\$(mergeable ${pids[$i]})\" = 0 ]"
		ok "guest $i is unharmed" "verify_guest $i"
	done
	;;
esac
finish
