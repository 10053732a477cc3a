#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The manual pages name every command, option and key that the programs offer, at their place, and none that they do not.
# usage: man.sh HS_SHARE HS_SHARED HS_LAB MAN_DIR BUILT_DIR
set -u
share=$1 shared=$2 lab=$3 man=$4 built=$5
passed=0 failed=0

# same NAME A B: two lists, a word a line
same() {
	if [ -n "$2" ] && [ "$2" = "$3" ]; then passed=$((passed + 1)); else
		failed=$((failed + 1))
		echo "FAILED: $1: offered (<) and in the page (>) differ:"
		diff <(echo "$2") <(echo "$3")
	fi
}

# Long and short options of a help text, at the beginning of its lines; those that every program of argp has are left out.
offered() {
	grep -oE '^ +(-[a-zA-Z?], )?--[a-z-]+|^ +-[a-zA-Z?], --[a-z-]+' | grep -oE -- '--?[a-zA-Z?][a-z-]*' |
		grep -vxE -- '--help|--usage|--version|-\?|-V' | sort -u
}
# Options in a part of a page: "Fl" in an item of a list.
named() {
	grep '^\.It .*Fl' | sed -E 's/^\.It //; s/Fl //g; s/ ?Ns = Ns Ar [A-Z]+//g; s/ , /\n/g' |
		sed 's/^/-/' | grep -vxE -- '--help|--usage|--version' | sort -u
}
# From a heading to the next: section PAGE "Sh NAME" or "Ss NAME"
section() { awk -v head=".$2" '$0 == head || index($0, head " ") == 1 { on = 1; next } /^\.S[hs]/ { on = 0 } on' "$man/$1"; }

commands=$("$share" --help | awk '/^  [a-z]/ { print $1 }')
same 'hs-share: commands' "$(sort <<<"$commands")" "$(awk '$1 == ".Ss" { print $2 }' "$man/hs-share.1" | sort)"
of_all=$(section hs-share.1 'Sh COMMANDS OF THE SERVICE' | named)
for command in $commands; do
	want=$("$share" "$command" --help | offered)
	# Its other half, which the service does.
	[ "$command" != unshare ] || want=$(printf '%s\n' "$want" "$("$share" unshare --all --help | offered)" | sort -u)
	have=$(section hs-share.1 "Ss $command" | named)
	case $command in
	run | inspect | record | unshare | diagnose | metrics | fleet) ;;
	*) have=$(printf '%s\n' "$have" "$of_all" | grep . | sort -u) ;;
	esac
	same "hs-share $command" "$want" "$have"
done
same 'hs-shared' "$("$shared" --help | offered)" "$(section hs-shared.8 'Sh DESCRIPTION' | named)"
for status in 0 1 2 3; do
	same "exit status $status" "$status" "$(section hs-share.1 'Sh EXIT STATUS' | awk -v s="$status" '$1 == ".It" && $2 == s { print $2 }')"
done

commands=$("$lab" --help | awk '/^  [a-z]/ { print $1 }')
same 'hs-lab: commands' "$(sort <<<"$commands")" "$(awk '$1 == ".Ss" { print $2 }' "$man/hs-lab.1" | sort)"
for command in $commands; do
	have=$(section hs-lab.1 "Ss $command" | named)
	for part in 'ALL RUNS' 'MADE-UP HOSTS' 'COMPARISONS'; do
		part=$(section hs-lab.1 "Sh OPTIONS OF $part")
		# The words before its list are the commands that take these.
		sed '/^\.Bl/,$d' <<<"$part" | grep -qE "^\.Cm $command( ,)?\$" &&
			have=$(printf '%s\n' "$have" "$(named <<<"$part")" | grep . | sort -u)
	done
	# No option at all is reported as such: two empty lists would prove nothing.
	want=$("$lab" "$command" --help | offered)
	same "hs-lab $command" "${want:-none}" "${have:-none}"
done

man_keys=$(awk '$1 == ".Sh" && $2 == "SECTION" { s = $3 } $1 == ".It" && $2 == "Cm" { print s, $3 }' "$built/hs-share.conf.5")
same 'hs-share.conf: keys' "$("$shared" --example-config | awk '/^\[/ { s = $1 } /^#[a-z]/ { print s, substr($1, 2) }')" "$man_keys"
same 'the example configuration' "$("$shared" --example-config)" "$(cat "$built/hs-share.conf")"
empty=$(mktemp)
same 'as it is installed it changes nothing' "$("$shared" -c "$empty" --check-config)" "$("$shared" -c "$built/hs-share.conf" --check-config)"
rm -f "$empty"

if command -v mandoc >/dev/null; then
	found=$(mandoc -T lint -W warning "$man/hs-share.1" "$man/hs-lab.1" "$man/hs-shared.8" "$built/hs-share.conf.5" 2>&1)
	same 'mandoc finds nothing' 'nothing' "${found:-nothing}"
else
	echo 'SKIPPED docs_man mandoc: it is not installed (Debian package mandoc)'
fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
