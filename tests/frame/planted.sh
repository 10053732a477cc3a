#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The tests of the frame fail when they should: a copy of the tree gets faults, and the test that is to see them has to fail with a
# text for each that names it. Faults of one kind are planted together, for one run of the test; what could be mistaken for another
# is planted apart. usage: planted.sh SOURCE_DIR MANIFEST CC AR
set -eu
manifest=$(realpath "$2") cc=$3 ar=$4
. "$(dirname "$0")/table.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
nr=0 tab=$(printf '\t')
mkdir "$work/tree" "$work/kept"
tree '*.c' '*.h' '*CMakeLists.txt' '*.cmake' | tar cf - -T - | tar xf - -C "$work/tree"
cp "$table" "$work/folders.txt"
# A tree of its own, whatever repository the temporary folder lies in.
export GIT_CEILING_DIRECTORIES="$work" HS_FOLDERS="$work/folders.txt"
cd "$work/tree"

# fault WHAT TEXT: what is planted, and what the line that names it matches
fault() { printf '%s\t%s\n' "$1" "$2" >>"$work/faults"; }

# seen TEST...: the test fails, and names each fault planted since the last time; then the tree and the table are as they were
seen() {
	if "$@" >"$work/out" 2>&1; then
		echo "planted: nobody saw:" >&2
		cut -f1 "$work/faults" >&2
		exit 1
	fi
	while IFS="$tab" read -r what text; do
		grep -qE "$text" "$work/out" || { echo "planted: $what: it failed, but for something else:" >&2; cat "$work/out" >&2; exit 1; }
		nr=$((nr + 1))
	done <"$work/faults"
	: >"$work/faults"
	(cd "$work/kept" && tar cf - .) | tar xf - -C .
	rm -rf "$work/kept"
	mkdir "$work/kept"
	cp "$table" "$HS_FOLDERS"
}

# add FILE LINE: a line more in a file
add() {
	[ -e "$work/kept/$1" ] || { mkdir -p "$(dirname "$work/kept/$1")"; cp -p "$1" "$work/kept/$1"; }
	printf '%s\n' "$2" >>"$1"
}

# add_include FILE INCLUDED TEXT: an include line more, and what is said of it
add_include() {
	add "$1" "#include \"$2\""
	fault "$1 including $2" "^$1 includes \"$2\".*$3"
}

# change_table SED
change_table() {
	sed -i "$1" "$HS_FOLDERS"
	! cmp -s "$table" "$HS_FOLDERS" || { echo "planted: $1: the table is as it was" >&2; exit 1; }
}

for test in includes names; do "$here/$test.sh" . >/dev/null || { echo "planted: the copy of the tree fails before a fault" >&2; exit 1; }; done

# Includes.
add_include scan/coarse.c hs/share.h "but scan may not know share"
add_include scan/coarse.c ept/host_internal.h "ept is known by its contracts"
add_include lab/run.c trace/check_internal.h "does not exist"
echo "/* private */" >trace/some_internal.h
add_include lab/run.c trace/some_internal.h "which is private to trace"
add_include pipeline/observer.c service/common/log.h "but pipeline may not know service/common"
add_include service/virt/virt.c service/endpoint/http.h "but service/virt may not know service/endpoint"
add_include base/procstat.c base/vmas.h "by its name alone"
add_include hash/index.c fine_internal.h "which is not in hash/"
add_include include/hs/view.h base/vmas.h "contracts include contracts only"
add_include include/hs/types.h hs/view.h "but include/hs may not know ept"
add_include ept/host_view.c kernel.skel.h "of a program that no folder known"
add_include trace/reader.c hs/lost.h "no contract"
mkdir attic
echo "int hs_attic;" >attic/attic.c
fault "a folder that the table has not" "^attic/ is not in the table"
seen "$here/includes.sh" .
rm -r attic trace/some_internal.h

add include/hs/view.h '#include "hs/sim_view.h"'
fault "contracts in a circle" "in a circle"
seen "$here/includes.sh" .

for file in CMakeLists.txt pipeline/CMakeLists.txt; do
	add "$file" 'include(attic/attic.cmake OPTIONAL)'
	fault "include(... OPTIONAL) in $file" "^$file:[0-9]+:.*OPTIONAL"
done
seen "$here/includes.sh" .

add pipeline/observer.c 'int planted(const struct guest *g) { return g->view->ops->splits_nested; }'
fault "a view's operation called outside ept/" "through ept/view.c"
fault "the file that calls it" "^pipeline/observer.c:[0-9]+:.*splits_nested"
seen "$here/includes.sh" .

# The table: every second folder's row is missing, then the others'.
for parity in 0 1; do
	i=0
	for folder in $(sed -n 's/^folder \([^ ]*\).*/\1/p' "$table"); do
		i=$((i + 1))
		[ $((i % 2)) = $parity ] || continue
		change_table "\\,^folder $folder ,d"
		fault "no row for $folder" "^$folder/ is not in the table"
	done
	seen "$here/includes.sh" .
done
change_table 's,^folder ept .*,& share,'
fault "two stages that know each other" "ept may not know share"
change_table '$a folder attic hs_attic hs'
fault "a row for no folder" "has attic, where no C file is"
seen "$here/includes.sh" .

# Names.
plant_name() { # NAME DECLARATION
	add remote/remote_internal.h "$2"
	fault "remote/remote_internal.h declaring $1" "$1 in remote/remote_internal.h"
}
plant_name hs_view_lookalike 'int hs_view_lookalike(void);'
plant_name HS_INDEX_OF_OURS '#define HS_INDEX_OF_OURS 1'
plant_name hs_ledger_of_ours 'struct hs_ledger_of_ours { int i; };'
plant_name hs_lab_kind_of_ours 'enum hs_lab_kind_of_ours { OF_OURS };'
seen "$here/names.sh" .

# Licences.
for change in 1d 's/GPL-2.0-only OR BSD-2-Clause/Apache-2.0/'; do
	mkdir -p "$work/kept/ept/bpf"
	cp -p ept/bpf/kernel_types.h "$work/kept/ept/bpf/"
	sed -i "$change" ept/bpf/kernel_types.h
	fault "a BPF program's header after sed $change" "kernel_types.h: no line .*GPL-2.0-only OR BSD-2-Clause"
	seen "$here/reuse.sh" .
done

# plant_call TARGET SYMBOL TEXT: a call more in a folder's library
cp "$manifest" "$work/manifest"
plant_call() {
	lib=$(awk -v t="$1" '$1 == "library" && $2 == t { print $4 }' "$manifest")
	printf 'extern void %s(void);\nvoid planted(void);\nvoid planted(void)\n{\n\t%s();\n}\n' "$2" "$2" >"$work/planted.c"
	"$cc" -c "$work/planted.c" -o "$work/planted.o"
	cp "$lib" "$work/${lib##*/}"
	"$ar" r "$work/${lib##*/}" "$work/planted.o" 2>/dev/null
	sed -i "s,$lib,$work/${lib##*/}," "$work/manifest"
	fault "$1 calling $2" "$3"
}

# Calls, and the manifest; one run, for the look into all libraries takes longest.
plant_call hs_ept hs_share_create "^ept \(hs_ept\) calls hs_share_create of share, which it may not know"
plant_call hs_scan hs_index_create "^scan \(hs_scan\) calls hs_index_create of hash"
plant_call hs_pipeline hs_recorder_create "^pipeline \(hs_pipeline\) calls hs_recorder_create of trace"
plant_call hs_virt hs_api_handle "^service/virt \(hs_virt\) calls hs_api_handle of service/endpoint"
plant_call hs_lab hs_lab_policy_named "^lab \(hs_lab\) calls hs_lab_policy_named of lab/policies"
sed -i '/^links hs_pipeline /s/ hs_scan//; /^library hs_discovery /d; /^links hs_base /s/$/ hs_remote/' "$work/manifest"
fault "a link that CMake does not name" "^hs_pipeline calls .* of hs_scan, and does not link it"
fault "a folder without a target" "^service/discovery/ has no target hs_discovery"
fault "a wrong link in CMake" "^hs_base links hs_remote in CMake"
seen "$here/links.sh" . "$work/manifest"
echo "$nr planted faults, each seen"
