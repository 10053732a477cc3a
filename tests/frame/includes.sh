#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Holds every quoted include of the product against the table of folders (folders.txt), and the table against the tree; and what else
# a look at the text finds.
# usage: includes.sh SOURCE_DIR
set -eu
. "$(dirname "$0")/table.sh"
bad=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

tree '*.c' '*.h' | grep -v '^tests/' >"$work/files"
xargs grep -HoE '^[[:space:]]*#[[:space:]]*include[[:space:]]+"[^"]+"' <"$work/files" | sed -E 's/^([^:]+):.*"([^"]+)"$/\1 \2/' >"$work/includes"
awk -f "$here/table.awk" -f "$here/includes.awk" "$table" "$work/files" "$work/includes" || bad=1
# tsort names a circle on standard error and fails
sed -n 's,^include/,,p' "$work/includes" | tsort >/dev/null || { echo "the contracts include one another in a circle" >&2; bad=1; }
# The table of a view's operations is called by ept/view.c, and by what stands behind it.
! grep -v '^ept/' "$work/files" | xargs grep -nE '(^|[^a-z_])(inner|in|v(iew)?)->ops->' >&2 || { echo "a view's operations are called through ept/view.c" >&2; bad=1; }
# A file that is lost is to be an error.
! tree '*CMakeLists.txt' '*.cmake' | xargs grep -niE '^[[:space:]]*include *\([^)]*OPTIONAL' >&2 || { echo "include(... OPTIONAL) in CMake" >&2; bad=1; }
exit "$bad"
