#!/bin/sh
# Holds every quoted include against the table of folders (docs/architecture.md): a stage may include contracts
# (hs/...) and files of its own folder; a contract includes contracts only, and without circles.
# usage: includes.sh SOURCE_DIR
set -eu
cd "$1"
bad=0

complain() {
	echo "$1" >&2
	bad=1
}

# prints "file:included" for each quoted include below the folders named
quoted() {
	grep -rHoE --include='*.c' --include='*.h' '^[[:space:]]*#[[:space:]]*include[[:space:]]+"[^"]+"' "$@" |
		sed -E 's/^([^:]+):.*"([^"]+)"$/\1:\2/'
}

for stage in ept scan hash share; do
	for pair in $(quoted "$stage"); do
		file=${pair%%:*} inc=${pair#*:}
		case $inc in
		hs/*) [ -f "include/$inc" ] || complain "$file includes \"$inc\", which is no contract in include/hs" ;;
		# made by the build from a program of the same folder
		*.skel.h) [ -f "$stage/${inc%.skel.h}.bpf.c" ] || complain "$file includes \"$inc\" without $stage/${inc%.skel.h}.bpf.c" ;;
		*/*) complain "$file includes \"$inc\": a stage includes contracts (hs/...) or files of its own folder" ;;
		*) [ -f "$stage/$inc" ] || complain "$file includes \"$inc\", which is not in $stage/" ;;
		esac
	done
done
# sim/ puts stages together as service/ does: it may include contracts, files of its own, and how the pipeline is driven.
for pair in $(quoted sim 2>/dev/null); do
	file=${pair%%:*} inc=${pair#*:}
	case $inc in
	hs/*) [ -f "include/$inc" ] || complain "$file includes \"$inc\", which is no contract in include/hs" ;;
	pipeline.h | record.h | wallclock.h | procstat.h) ;;
	*) [ -f "sim/$inc" ] || complain "$file includes \"$inc\": sim/ includes contracts, files of its own, pipeline.h, record.h, wallclock.h and procstat.h" ;;
	esac
done
for pair in $(quoted include); do
	file=${pair%%:*} inc=${pair#*:}
	case $inc in
	hs/*) [ -f "include/$inc" ] || complain "$file includes \"$inc\", which does not exist" ;;
	*) complain "$file includes \"$inc\": contracts include contracts only" ;;
	esac
done
# tsort names a circle on standard error and fails
quoted include | sed -E 's/^include\/([^:]+):(.*)$/\1 \2/' | tsort >/dev/null || complain "the contracts include one another in a circle"
[ "$bad" = 0 ] && echo "include lines agree with the table of folders"
exit "$bad"
