#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Every file has a licence: an SPDX line among its first three, the right one for its folder; and `reuse lint` finds
# nothing. usage: reuse.sh SOURCE_DIR
set -eu
. "$(dirname "$0")/table.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What cannot have a comment, or is the text of a licence: .reuse/dep5 alone speaks for it.
no_line='^(LICENSES/|LICENSE$|\.reuse/dep5$|debian/(copyright|source/format)$|tests/fuzz/seeds/|cockpit/uplot/|tests/frame/words\.txt$)|\.(hst|json|png)$|(^|/)(conffiles|changelog(\.in)?)$'
tree '*' >"$work/files"
grep -vE "$no_line" "$work/files" | xargs awk '
	FNR == 1 {
		left[FILENAME] = FILENAME ~ /^(base|ept)\/bpf\/.*\.[ch]$/ ? "GPL-2.0-only OR BSD-2-Clause" : "Apache-2.0"
		nr++
	}
	FNR <= 3 && sub(/^.*SPDX-License-Identifier: /, "") {
		sub(/ (\*\/|-->)$/, "")
		if ($0 == left[FILENAME])
			delete left[FILENAME]
	}
	FNR == 3 { nextfile }
	END {
		for (f in left) {
			print f ": no line \"SPDX-License-Identifier: " left[f] "\" among the first three"
			bad = 1
		}
		if (nr < 600) {
			print "only " nr " files were found"
			bad = 1
		}
		if (!bad)
			print nr " files name their licence"
		exit bad
	}'

command -v reuse >/dev/null || { echo 'SKIPPED frame_reuse: reuse is not installed (Debian package reuse)'; exit 77; }
# A copy, without what was built.
mkdir "$work/tree"
tar cf - -T "$work/files" | tar xf - -C "$work/tree"
reuse --root "$work/tree" lint >"$work/out" 2>&1 || { cat "$work/out"; exit 1; }
tail -1 "$work/out"
