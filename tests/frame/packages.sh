#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Every program that the scripts of the tests call comes with a package that ./run installs by name, or that each Debian
# machine has: on a fresh machine nothing is skipped, or fails, for want of a package.
# usage: packages.sh SOURCE_DIR
set -u
cd "$1" || exit 1
command -v dpkg-query >/dev/null || { echo 'SKIPPED frame_packages: this machine has no dpkg'; exit 77; }

# Words where a command may stand: at the beginning of a line, behind what ends or opens a command, behind what runs one; and
# what is asked for with `command -v`, or in a list named need or needs. Without comments.
commands() {
	sed -E 's/(^|[[:space:]])#[[:space:]!].*//' "$@" |
		grep -oE '(^|[|&;(`{!"'"'"']|\b(do|then|else|if|while|until|exec|env|timeout [0-9]+|command -v|unshare [-a-z]+|in|needs=\())[[:space:]]*([A-Z_]+=[^ ]* )*[a-z][a-z0-9_.+-]+( [a-z][a-z0-9_.+-]+)*' |
		sed -E 's/^[^a-zA-Z]*//; s/^(do|then|else|if|while|until|exec|env|timeout [0-9]+|command -v|unshare [-a-z]+|in)[[:space:]]+//; s/^([A-Z_]+=[^ ]* )*//'
}
# Of lists every word, of commands the first.
words() {
	commands "$@" | sed 's/ .*//'
	sed -nE 's/^[[:space:]]*for [a-z]+ in ([a-z0-9_. -]+)(;| "\$).*/\1/p; s/.*needs=\(([^)]*)\).*/\1/p' "$@" | tr ' ' '\n'
}
# (What runs inside of a KVM host has its programs from busybox.)
mapfile -t scripts < <(find tests .ci packaging run ! -path tests/kvm/init.sh \( -name '*.sh' -o -path .ci/run -o -path run \))
# What is no program here: the scripts' own functions, what bash has itself, and words that only look like one.
functions=$(sed -nE 's/^[[:space:]]*([a-z_]+)\(\) .*/\1/p' "${scripts[@]}"; compgen -b; compgen -k; printf '%s\n' file init less man node open view watch write)
declare -A known=([apt]=yes) word_of=() package_of=() # apt installs the others
for package in $(sed -nE '/_packages=\(/,/\)/p' run | sed 's/#.*//; s/.*=(//; s/)//') \
	$(dpkg-query -W -f '${Package} ${Essential}/${Priority}\n' | awk '$2 ~ /^yes|required$/ { print $1 }'); do
	known[$package]=yes
done

while read -r word; do
	program=$(type -P "$word") && word_of[$program]=$word
done < <(words "${scripts[@]}" | sort -u | grep -vxFf <(echo "$functions"))
# Its package may know it by another of its names.
programs=("${!word_of[@]}")
mapfile -t targets < <(readlink -f "${programs[@]}")
for i in "${!programs[@]}"; do
	word=${word_of[${programs[i]}]}
	for path in "${targets[i]}" "/usr${programs[i]}" "${programs[i]#/usr}"; do word_of[$path]+=" $word"; done
done
# One that is nobody's is this machine's own. One of several packages is enough.
while IFS=: read -r package path; do
	for word in ${word_of[${path# }]-}; do
		[ -n "${known[$package]-}" ] && package_of[$word]= || package_of[$word]=${package_of[$word]-$package}
	done
done < <(dpkg-query -S "${!word_of[@]}" 2>/dev/null | grep -v '^diversion' | sed -E 's/^([^:]*):[a-z0-9]+:/\1:/')
bad=0
for word in "${!package_of[@]}"; do
	[ -n "${package_of[$word]}" ] || continue
	bad=1
	echo "$word is of the package ${package_of[$word]}, which run does not install: $(grep -lw -- "$word" "${scripts[@]}" | head -3 | xargs)"
done
# What the source package is built with is what run builds with.
for package in $(awk '/^[A-Z]/ { on = 0 } sub(/^Build-Depends:/, "") { on = 1 } on' debian/control | sed 's/([^)]*)//g; s/debhelper-compat/debhelper/' | tr ',' ' '); do
	[ -n "${known[$package]-}" ] || { echo "debian/control needs $package, which run does not install"; bad=1; }
done
[ ${#package_of[@]} -gt 60 ] || { echo "only ${#package_of[@]} programs were found in the scripts"; bad=1; }
[ "$bad" = 0 ] && echo "${#package_of[@]} programs that the scripts call come with packages that are installed"
exit "$bad"
