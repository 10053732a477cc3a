#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Holds that no file of pipeline/ calls one that stands after it in the order of pipeline_internal.h, by the symbols of
# the built library; and that the order names every file. The check itself is checked: against the order turned round it
# has to fail.
# usage: order.sh PIPELINE_DIR LIBRARY
set -eu
dir=$1 library=$2
order=$(sed -n 's/^ \* order: //p' "$dir/pipeline_internal.h" | tr '\n' ' ')

# usage: check NAMES...; prints each call upwards, and fails when there is one
check() {
	nm -A --format=posix "$library" | awk -v order="$*" '
		BEGIN { n = split(order, name, " "); for (i = 1; i <= n; i++) place[name[i]] = i }
		{
			file = $1
			sub(/.*\[/, "", file); sub(/\.c\.o\].*/, "", file)
			if (!(file in place)) { print file ".c is not in the order"; bad = 1; next }
			if ($3 ~ /^[TDRB]$/) home[$2] = file
			else if ($3 == "U") wanted[file " " $2] = 1
		}
		END {
			for (w in wanted) {
				split(w, part, " ")
				if (part[2] in home && place[home[part[2]]] > place[part[1]]) {
					print part[1] ".c calls " part[2] " of " home[part[2]] ".c, which stands after it"
					bad = 1
				}
			}
			exit bad
		}'
}

for name in $order; do
	[ -f "$dir/$name.c" ] || { echo "the order names $name.c, which is not in $dir"; exit 1; }
done
# shellcheck disable=SC2086
check $order || exit 1
reversed=$(printf '%s\n' $order | tac)
# shellcheck disable=SC2086
if check $reversed >/dev/null; then
	echo "the order turned round passes as well: this test sees nothing"
	exit 1
fi
echo "no file of pipeline/ calls one that stands after it"
