#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Holds the calls between the built libraries against the table of folders (folders.txt): an undefined symbol of one folder's
# library, or program, that another folder's library defines. usage: links.sh SOURCE_DIR MANIFEST
set -eu
manifest=$(realpath "$2")
. "$(dirname "$0")/table.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# library|program TARGET FOLDER FILE...
grep -E '^(library|program) ' "$manifest" | while read -r kind target _ files; do
	# shellcheck disable=SC2086
	ls $files >/dev/null || { echo "$target is not built" >&2; exit 1; }
	# shellcheck disable=SC2086
	nm $files >"$work/symbols" 2>/dev/null
	awk -v target="$target" -v kind="$kind" '
		NF == 2 && $1 == "U" { print "U", target, $2 }
		NF == 3 && $2 ~ /^[TDBRVWC]$/ { print "D", target, $3 }' "$work/symbols" | sort -u
done >"$work/nm"
awk -f "$here/table.awk" -f "$here/links.awk" "$table" "$manifest" "$work/nm"
