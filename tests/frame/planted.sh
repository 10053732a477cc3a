#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The tests of the frame fail when they should: a copy of the tree gets one fault after the other, and the test that is to see it
# has to fail with a text that names it. usage: planted.sh SOURCE_DIR MANIFEST CC AR
set -eu
manifest=$(realpath "$2") cc=$3 ar=$4
. "$(dirname "$0")/table.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
nr=0
mkdir "$work/tree"
tree '*.c' '*.h' '*CMakeLists.txt' '*.cmake' | tar cf - -T - | tar xf - -C "$work/tree"
cp "$table" "$work/folders.txt"
# A tree of its own, whatever repository the temporary folder lies in.
export GIT_CEILING_DIRECTORIES="$work" HS_FOLDERS="$work/folders.txt"
cd "$work/tree"

# sees WHAT TEXT TEST...: the test fails, and its text is matched by TEXT
sees() {
	what=$1 text=$2
	shift 2
	if "$@" >"$work/out" 2>&1; then
		echo "planted: $what: nobody saw it" >&2
		exit 1
	fi
	grep -qE "$text" "$work/out" || { echo "planted: $what: it failed, but for something else:" >&2; cat "$work/out" >&2; exit 1; }
	nr=$((nr + 1))
}

# sees_include FILE INCLUDED TEXT: an include line more in a file
sees_include() {
	cp "$1" "$work/kept"
	printf '#include "%s"\n' "$2" >>"$1"
	sees "$1 including $2" "$3" "$here/includes.sh" .
	cp "$work/kept" "$1"
}

# sees_rows WHAT SED TEXT TEST...: another table
sees_rows() {
	what=$1 script=$2 text=$3
	shift 3
	sed "$script" "$table" >"$HS_FOLDERS"
	! cmp -s "$table" "$HS_FOLDERS" || { echo "planted: $what: the table is as it was" >&2; exit 1; }
	sees "$what" "$text" "$@"
	cp "$table" "$HS_FOLDERS"
}

for test in includes names; do "$here/$test.sh" . >/dev/null || { echo "planted: the copy of the tree fails before a fault" >&2; exit 1; }; done

# Includes.
sees_include scan/coarse.c hs/share.h "scan/coarse.c includes \"hs/share.h\", but scan may not know share"
sees_include scan/coarse.c ept/host_internal.h "scan/coarse.c includes .* ept is known by its contracts"
sees_include lab/run.c trace/check_internal.h "does not exist"
echo "/* private */" >trace/some_internal.h
sees_include lab/run.c trace/some_internal.h "which is private to trace"
rm trace/some_internal.h
sees_include pipeline/observer.c service/common/log.h "but pipeline may not know service/common"
sees_include service/virt/virt.c service/endpoint/http.h "but service/virt may not know service/endpoint"
sees_include base/procstat.c base/vmas.h "by its name alone"
sees_include hash/index.c fine_internal.h "which is not in hash/"
sees_include include/hs/view.h base/vmas.h "contracts include contracts only"
sees_include include/hs/types.h hs/view.h "what is for all|in a circle|may not know"
sees_include include/hs/view.h hs/sim_view.h "in a circle"
sees_include ept/host_view.c kernel.skel.h "of a program that no folder known"
sees_include trace/reader.c hs/lost.h "no contract"
mkdir tier
echo "int hs_tier;" >tier/tier.c
sees "a folder that the table has not" "tier/ is not in the table" "$here/includes.sh" .
rm -r tier
for file in CMakeLists.txt pipeline/CMakeLists.txt; do
	cp "$file" "$work/kept"
	echo 'include(tier/tier.cmake OPTIONAL)' >>"$file"
	sees "include(... OPTIONAL) in $file" "OPTIONAL" "$here/includes.sh" .
	cp "$work/kept" "$file"
done
cp pipeline/observer.c "$work/kept"
echo 'int planted(const struct guest *g) { return g->view->ops->splits_nested; }' >>pipeline/observer.c
sees "a view's operation called outside ept/" "through ept/view.c" "$here/includes.sh" .
cp "$work/kept" pipeline/observer.c

# The table.
for folder in $(sed -n 's/^folder \([^ ]*\).*/\1/p' "$table"); do
	sees_rows "no row for $folder" "\\,^folder $folder ,d" "$folder" "$here/includes.sh" .
done
sees_rows "two stages that know each other" 's,^folder ept .*,& share,' "ept may not know share" "$here/includes.sh" .
sees_rows "a row for no folder" '$a folder tier hs_tier hs' "has tier, where no C file is" "$here/includes.sh" .

# Names.
for name in 'int hs_view_lookalike(void);' 'struct hs_ledger_of_ours {' '#define HS_INDEX_OF_OURS 1' 'enum hs_lab_kind_of_ours {'; do
	cp remote/remote_internal.h "$work/kept"
	printf '%s\n' "$name" >>remote/remote_internal.h
	sees "remote/remote_internal.h declaring $name" "remote/remote_internal.h" "$here/names.sh" .
	cp "$work/kept" remote/remote_internal.h
done

# Licences.
for change in 1d 's/GPL-2.0-only OR BSD-2-Clause/Apache-2.0/'; do
	cp ept/bpf/kernel_types.h "$work/kept"
	sed -i "$change" ept/bpf/kernel_types.h
	sees "a BPF program's header after sed $change" "kernel_types.h: no line .*GPL-2.0-only OR BSD-2-Clause" "$here/reuse.sh" .
	cp "$work/kept" ept/bpf/kernel_types.h
done

# sees_call FOLDER TARGET SYMBOL TEXT: a call more in a folder's library
sees_call() {
	lib=$(awk -v t="$2" '$1 == "library" && $2 == t { print $4 }' "$manifest")
	printf 'extern void %s(void);\nvoid planted(void);\nvoid planted(void)\n{\n\t%s();\n}\n' "$3" "$3" >"$work/planted.c"
	"$cc" -c "$work/planted.c" -o "$work/planted.o"
	cp "$lib" "$work/${lib##*/}"
	"$ar" r "$work/${lib##*/}" "$work/planted.o" 2>/dev/null
	sed "s,$lib,$work/${lib##*/}," "$manifest" >"$work/manifest"
	sees "$1 calling $3" "$4" "$here/links.sh" . "$work/manifest"
}

# Calls.
sees_call ept hs_ept hs_share_create "ept \(hs_ept\) calls hs_share_create of share, which it may not know"
sees_call scan hs_scan hs_index_create "scan \(hs_scan\) calls hs_index_create of hash"
sees_call pipeline hs_pipeline hs_recorder_create "calls hs_recorder_create of trace"
sees_call service/virt hs_virt hs_api_handle "calls hs_api_handle of service/endpoint"
sees_call lab hs_lab hs_lab_policy_named "lab \(hs_lab\) calls hs_lab_policy_named of lab/policies"
sed '/^links hs_pipeline /s/ hs_scan//' "$manifest" >"$work/manifest"
sees "a link that CMake does not name" "hs_pipeline calls .* of hs_scan, and does not link it" "$here/links.sh" . "$work/manifest"
sed '/^library hs_hash /d' "$manifest" >"$work/manifest"
sees "a folder without a target" "hash/ has no target hs_hash" "$here/links.sh" . "$work/manifest"
sed '/^links hs_ept /s/$/ hs_scan/' "$manifest" >"$work/manifest"
sees "a wrong link in CMake" "hs_ept links hs_scan in CMake" "$here/links.sh" . "$work/manifest"
echo "$nr planted faults, each seen"
