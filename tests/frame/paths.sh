#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Files that documents and comments name exist: by their path from the root, or by the end of it ("engine.c", "policies/ksm.c").
# usage: paths.sh SOURCE_DIR
set -eu
. "$(dirname "$0")/table.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Not the project's: the kernel's files, what the build makes, and what a document tells its reader to write.
elsewhere='^(mm|kernel|arch|fs|virt|tools|drivers|include/(linux|uapi)|Documentation|linux|sys|asm|bpf|libvirt|systemd|curl|libxml)/|^(build|usr)/|\.skel\.h$|NAME|PROGRAM'
tree '*' >"$work/files"
tree '*.md' '*.c' '*.h' '*.sh' 'CMakeLists.txt' '*.cmake' '*.1' '*.8' '*.in' run | grep -v '^tests/frame/' | xargs grep -nHoE \
	'(#[[:space:]]*include[[:space:]]*<[^>]*>|[-A-Za-z0-9_./${}*]*[A-Za-z0-9_*]\.(c|h|sh|md|cmake|yaml)([^-A-Za-z0-9_.({]|\.?$|\.[^A-Za-z0-9]))' |
	grep -vE 'include[[:space:]]*<|[$*{}]' |
	sed -E 's/^([^:]+:[0-9]+):(.*[A-Za-z0-9])[^A-Za-z0-9]*$/\1 \2/; s, (\.*/)+, ,' >"$work/named"
# What is named in full below a folder of the tree, in backticks, is a path, whatever its ending.
tree '*.md' | xargs grep -nHoE '`[a-z]+/[-A-Za-z0-9_./]*`' | sed -E 's/^([^:]+:[0-9]+):`(.*)`$/\1 \2/' >>"$work/named"
awk -v elsewhere="$elsewhere" -v table="$table" -v files="$work/files" '
	FILENAME == table {
		for (i = 3; $1 == "unclean" && $2 == "paths" && i <= NF; i++)
			unclean[$i] = 1
		next
	}
	FILENAME == files {
		file[$1] = 1
		n = split($1, part, "/")
		for (at = part[n]; n > 0; at = part[--n] "/" at)
			end[at] = 1
		path = $1
		while (sub(/\/[^\/]*$/, "", path))
			folder[path] = 1
		next
	}
	{
		sub(/\/$/, "", $2)
		top = $2
		sub(/\/.*/, "", top)
		here = $1
		sub(/\/[^\/]*$/, "", here)
		if ($2 in end || $2 in folder || (here "/" $2) in file || (here "/" $2) in folder || ("include/" $2) in file || (here "/" $2 ".in") in file || ($2 ".in") in file || $2 ~ elsewhere)
			nr++
		else if (!(here in unclean) && ($2 ~ /\.[a-z]+$/ || top in folder)) {
			print $1 ": there is no " $2 > "/dev/stderr"
			bad = 1
		}
	}
	END {
		if (!bad)
			print nr " names of files in documents and comments are right"
		exit bad
	}' "$table" "$work/files" "$work/named"
