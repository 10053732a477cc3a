#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes hs-share.conf.5: the template, and in the place of @HS_CONFIG_KEYS@ every key that hs-shared knows, a section each
# and in it an item each. usage: keys.sh HS_SHARED TEMPLATE >PAGE
set -eu
keys=$(mktemp)
trap 'rm -f "$keys"' EXIT
"$1" --example-config >"$keys"
awk '
	function text(s) {
		gsub(/\\/, "\\e", s)
		gsub(/\. /, ".\n", s)
		s = toupper(substr(s, 1, 1)) substr(s, 2)
		return s ~ /^[.\047]/ ? "\\&" s : s
	}
	function end_list() {
		if (nr_sections++)
			print ".El"
	}
	# Of each key: a line what it is, a line what is allowed, and "#key = default".
	function keys(file, line, note, notes, key, value) {
		while ((getline line <file) > 0) {
			if (line ~ /^\[/) {
				end_list()
				print ".Sh SECTION " line "\n.Bl -tag -width Ds"
			} else if (line ~ /^#   [a-z_]+: /) { # of a rule
				if (!nr_rules++) {
					end_list()
					print ".Sh RULES\nA section\n.Li [discover NAME]\nis a rule that finds guests; it has these keys.\n.Bl -tag -width Ds"
				}
				key = substr(line, 5, index(line, ":") - 5)
				print ".It Va " key "\n" text(substr(line, index(line, ":") + 2)) "."
			} else if (line ~ /^# /) {
				note[++notes] = substr(line, 3)
			} else if (line ~ /^#[a-z]/) {
				key = substr(line, 2, index(line, " ") - 2)
				value = substr(line, index(line, "=") + 2)
				print ".It Cm " key "\n" text(note[1]) ".\n.br"
				print "Default: " (value == "" ? "empty" : value) ".\nAllowed: " note[2] "."
				notes = 0
			}
		}
		end_list()
	}
	$0 == "@HS_CONFIG_KEYS@" { keys(ARGV[2]); next }
	FILENAME == ARGV[2] { exit }
	{ print }
' "$2" "$keys"
