# SPDX-License-Identifier: Apache-2.0
# Sourced by the tests of the frame, with the source tree's path: goes there.
here=$(realpath "$(dirname "$0")")
table=${HS_FOLDERS:-$here/folders.txt}
cd "$1"

# tree PATTERN...: files of the source tree that match
tree() {
	if git rev-parse --git-dir >/dev/null 2>&1; then
		git ls-files -co --exclude-standard -- "$@" | sort -u | xargs ls -d 2>/dev/null
	else
		find . -path ./build -prune -o ! -type d -print | sed 's,^\./,,' | grep -E "$(printf '%s\n' "$@" | sed 's/\./\\./g; s/\*/.*/g; s,^\(.*\)$,(^|/)\1$,')" | sort -u
	fi
}
