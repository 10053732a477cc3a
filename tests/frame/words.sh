#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Words of a dialect of our own do not come back: the glossary in docs/architecture.md has the field's terms in their place.
# usage: words.sh SOURCE_DIR [FOLDER...]   (with folders: only these, whatever the table of folders excuses)
set -eu
. "$(dirname "$0")/table.sh"
shift

# A file that is already on machines, and plain English.
except='wishes\.json|(told|tells [A-Za-z ]*) apart|tells hot from cold|be told([^a-z]|$)|told to([^a-z]|$)|told otherwise'

if [ $# -gt 0 ]; then
	folders=$*
else
	folders=$(awk '$1 == "folder" { print $2 } $1 == "unclean" && $2 == "words" { for (i = 3; i <= NF; i++) unclean[$i] = 1 }
		END { for (f in unclean) print "-" f }' "$table" | sort | awk '/^-/ { no[substr($0, 2)] = 1; next } !($0 in no)')
	folders="$folders docs README.md"
fi
# words.txt: a pattern a line, and what to write instead
pattern=$(sed 's/: .*//' "$here/words.txt" | paste -sd'|')
bad=0
for folder in $folders; do
	[ -d "$folder" ] && pat="^$folder/[^/]*\$" || pat="^$folder\$"
	[ "$folder" != docs ] || pat='^docs/'
	tree '*.c' '*.h' '*.md' '*.1' '*.8' '*.in' '*.sh' '*.yaml' | grep -E "$pat" | xargs -r grep -nwHiE "$pattern" |
		sed -E "s/$except//g" | grep -wiE "$pattern" && bad=1
done
[ "$bad" = 0 ] && echo "no word of a dialect in: $(echo $folders)" || { echo "instead of:"; cat "$here/words.txt"; } >&2
exit "$bad"
