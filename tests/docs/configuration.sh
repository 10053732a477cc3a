#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# docs/configuration.md has a row for each key, with the default and the values that the program has, a reason, and no other.
# usage: configuration.sh HS_SHARED PAGE
set -u
offered=$("$1" --example-config | awk '
	/^\[/ { section = $1 }
	/^# / { allowed = substr($0, 3) } # the line before the key
	/^#[a-z]/ {
		when = sub(/; a change needs a restart$/, "", allowed) ? "restart" : "live"
		sub(/^a number from /, "", allowed)
		value = substr($0, index($0, "=") + 2)
		print section " " substr($1, 2) " | " (value == "" ? "empty" : "`" value "`") " | " allowed " | " when
	}')
written=$(awk -F ' [|] ' '
	/^## \[/ { section = $2 ? $2 : $0; sub(/^## /, "", section) }
	/^[|] `/ {
		key = $1
		gsub(/[|` ]/, "", key)
		sub(/ [|]$/, "", $5)
		print section " " key " | " $2 " | " $3 " | " $4 (length($5) < 10 ? " | without a reason" : "")
	}' "$2")
[ -n "$offered" ] && diff <(echo "$offered") <(echo "$written") || { echo 'FAILED: the program has (<) and the page says (>)'; exit 1; }
echo "$(wc -l <<<"$offered") keys agree"
# The keys of a rule, whose page is beside it.
offered=$("$1" --example-config | sed -nE 's/^#   ([a-z_]+): .*/\1/p' | sort)
written=$(sed -nE '/^## The keys/,/^## Who/s/^[|] `([a-z_]+)` .*/\1/p' "$(dirname "$2")/discovery.md" | sort)
[ -n "$offered" ] && diff <(echo "$offered") <(echo "$written") || { echo 'FAILED: keys of a rule: the program has (<) and docs/discovery.md says (>)'; exit 1; }
echo "$(wc -l <<<"$offered") keys of a rule agree"
