#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Under `set -o pipefail` no pipe of a script ends in `grep -q`: it closes at the first match, the command before it then
# dies of its closed pipe now and then, and the whole pipe has failed although the line is there. usage: pipes.sh SOURCE_DIR
set -eu
. "$(dirname "$0")/table.sh"
wrong=$(tree '*.sh' run .ci/run | xargs grep -lE '^ *set .*pipefail' | xargs grep -nE '[^|]\| *grep (-[a-zA-Z]+ +)*-[a-zA-Z]*q' || :)
[ -z "$wrong" ] || {
	echo "$wrong"
	echo "write grep ... >/dev/null"
	exit 1
}
[ "$(tree '*.sh' run .ci/run | xargs grep -lE '^ *set .*pipefail' | wc -l)" -gt 3 ] || { echo "no scripts with pipefail were found"; exit 1; }
echo "no pipe under pipefail ends in grep -q"
