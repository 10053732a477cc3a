#!/bin/bash
# The completion as bash runs it. usage: completion.sh PROGRAM COMPLETION
set -u
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
ln -s "$1" "$dir/hs-share"
PATH=$dir:$PATH
. "$2"
passed=0 failed=0
expect() { # WORD... = what has to be offered, last
	local want=${*: -1}
	COMP_WORDS=("${@:1:$#-1}") COMP_CWORD=$(($# - 2)) COMPREPLY=()
	_hs_share
	if [ "${COMPREPLY[*]}" = "$want" ]; then passed=$((passed + 1)); else
		failed=$((failed + 1))
		echo "FAILED: ${*:1:$#-1}: offered \"${COMPREPLY[*]}\", wanted \"$want\""
	fi
}
expect hs-share opt 'opt-in opt-out'
expect hs-share insp inspect
expect hs-share mode s save
expect hs-share mode '' 'off observe save auto'
expect hs-share opt-in --gr --group
expect hs-share watch --co --count
for command in run record opt-in; do
	expect hs-share $command --sh --share
	expect hs-share $command --share g 'group guest'
done
expect hs-share show nobody ''
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
