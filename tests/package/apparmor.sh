#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The rules for a confined QEMU, compiled by AppArmor's parser in profiles as libvirt makes them (nothing is loaded): with
# Debian's abstraction where it is installed, and in a profile that has no other rule on tracing. usage: apparmor.sh RULES
set -u
rules=$1
export PATH=$PATH:/usr/sbin:/sbin
command -v apparmor_parser >/dev/null || { echo 'SKIPPED package apparmor: the parser is not installed (Debian package apparmor)'; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0
ok() {
	if eval "$2"; then passed=$((passed + 1)); else
		failed=$((failed + 1))
		echo "FAILED: $1"
		cat "$work/said"
	fi
}
# -Q: into no kernel, -K: into no cache, -S: the compiled profile to standard output
parse() { apparmor_parser -Q -K -I "$work" "$@" 2>"$work/said"; }
# profile NAME RULE...: a domain's, as virt-aa-helper writes it
profile() {
	printf '#include <tunables/global>\nprofile libvirt-00000000-0000-0000-0000-00000000000%s flags=(attach_disconnected) {\n' ${#1}
	printf '%s\n' "${@:2}"
	echo '}'
}
mkdir "$work/local"
cp "$rules" "$work/local/hs-share"
profile a '#include <local/hs-share>' >"$work/alone"
profile ab '#include <abstractions/base>' '#include <local/hs-share>' >"$work/base"
profile abc '/dev/kvm rw,' >"$work/without"
profile abcd '/dev/kvm rw,' '#include <local/hs-share>' >"$work/with"
ok 'they are rules' 'parse "$work/alone"'
ok 'they agree with the base of all profiles' 'parse "$work/base"'
if [ -e /etc/apparmor.d/abstractions/libvirt-qemu ]; then
	profile abcde '#include <abstractions/libvirt-qemu>' '#include <local/hs-share>' >"$work/libvirt"
	ok "they agree with libvirt's" 'parse "$work/libvirt"'
fi
for who in unconfined hs-shared; do
	ok "reading and tracing is allowed to $who" 'parse -p "$work/alone" | grep -q "^ptrace (readby, tracedby) peer=$who,$"'
done
ok 'they change what is compiled' '! cmp -s <(parse -S "$work/without") <(parse -S "$work/with")'
ok 'a rule that is none is found' 'profile abcdef "ptrace (observedby) peer=hs-shared," >"$work/wrong"; ! parse "$work/wrong"'
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
