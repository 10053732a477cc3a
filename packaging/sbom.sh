#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The bill of materials of a package, as SPDX 2.3: each source file with its licence (by `reuse spdx`), the libraries that the
# programs load, what is compiled in from headers, and what compiled it, with the versions of this machine's package database.
# The same sources on the same machine give the same file: its date is SOURCE_DATE_EPOCH.
# usage: sbom.sh SOURCE_DIR VERSION OUT PROGRAM...
set -euo pipefail
source=$1 version=$2 out=$3
shift 3
export LC_ALL=C
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/hs-share"

# The sources alone: not what was built among them.
tar cf - -C "$source" --exclude=./.git --exclude=./build --exclude=./obj --exclude=./debian/.debhelper --exclude=./debian/files \
	--exclude=./debian/hs-share --exclude='./debian/*.substvars' --exclude='./debian/*debhelper*' . | tar xf - -C "$work/hs-share"
reuse --root "$work/hs-share" spdx >"$work/files" 2>"$work/log" || { cat "$work/log" >&2; exit 1; }

# What the package database says: NAME VERSION of packages, and of the packages that files belong to.
if dpkg-query -W dpkg >/dev/null 2>&1; then
	kind=deb
	of_packages() { dpkg-query -W -f '${Package} ${Version}\n' "$@" 2>/dev/null || :; }
	# A merged /usr: the database has some files by their old path.
	of_files() { of_packages $(dpkg-query -S "$@" "${@#/usr}" 2>/dev/null | sed 's/: .*//'); }
else
	kind=rpm
	of_packages() { rpm -q --qf '%{NAME} %{VERSION}-%{RELEASE}\n' "$@" 2>/dev/null | grep -v ' is not ' || :; }
	of_files() { rpm -qf --qf '%{NAME} %{VERSION}-%{RELEASE}\n' "$@"; }
fi
. /etc/os-release

# What a program names, as the loader finds it here.
libraries() {
	local program
	for program in "$@"; do
		objdump -p "$program" | awk '$1 == "NEEDED" { print $2 }' >"$work/needed"
		ldd "$program" | awk -v program="$program" '
			{ path = $2 == "=>" ? $3 : $1; name = $1; sub(/.*\//, "", name) }
			FNR == NR { at[name] = path; next }
			!(name in at) || at[name] !~ "/" { print "sbom: " program " needs " name ", which is not here" >"/dev/stderr"; exit 1 }
			{ print at[name] }' - "$work/needed"
	done | sort -u | xargs readlink -f
}

# package NAME VERSION: a section of one of those
packages=
package() {
	local id=SPDXRef-Package-${1//[^A-Za-z0-9.-]/-}
	case $packages in *" $id "*) return ;; esac
	packages="$packages $id "
	cat <<-END

		PackageName: $1
		SPDXID: $id
		PackageVersion: $2
		PackageDownloadLocation: NOASSERTION
		FilesAnalyzed: false
		PackageLicenseConcluded: NOASSERTION
		PackageLicenseDeclared: NOASSERTION
		PackageCopyrightText: NOASSERTION
		ExternalRef: PACKAGE-MANAGER purl pkg:$kind/$ID/${1//+/%2B}@$(sed 's/+/%2B/g; s/:/%3A/g; s/~/%7E/g' <<<"$2")
	END
}

# relations RELATION NAME...: those of these packages that are here
relations() {
	local relation=$1 name of
	shift
	of_packages "$@" | sort -u >"$work/found"
	while read -r name of; do
		package "$name" "$of"
		echo "Relationship: SPDXRef-Package-${name//[^A-Za-z0-9.-]/-} $relation SPDXRef-Package"
	done <"$work/found"
}
headers=(libbpf-dev libxxhash-dev uthash-dev linux-libc-dev)
tools=(gcc clang llvm bpftool cmake ninja-build)
[ $kind = deb ] || { headers=(libbpf-devel xxhash-devel uthash-devel kernel-headers) tools=(gcc clang llvm bpftool cmake ninja-build); }

libraries "$@" >"$work/paths"
of_files $(cat "$work/paths") | sort -u >"$work/libraries"
[ -s "$work/libraries" ] || { echo "sbom: the package database knows none of the libraries" >&2; exit 1; }
{
	sed -n 's/^FileChecksum: SHA1: //p' "$work/files" | sort | tr -d '\n' | sha1sum | sed 's/ .*//' >"$work/code"
	cat <<-END
		PackageName: hs-share
		SPDXID: SPDXRef-Package
		PackageVersion: $version
		PackageDownloadLocation: NOASSERTION
		FilesAnalyzed: false
		PackageLicenseConcluded: NOASSERTION
		PackageLicenseDeclared: Apache-2.0 AND (GPL-2.0-only OR BSD-2-Clause) AND BSD-2-Clause
		PackageCopyrightText: Copyright 2026 The HS-Share authors
		Relationship: SPDXRef-DOCUMENT DESCRIBES SPDXRef-Package
		Relationship: SPDXRef-Package GENERATED_FROM SPDXRef-Source
	END
	while read -r name of; do
		package "$name" "$of"
		echo "Relationship: SPDXRef-Package DYNAMIC_LINK SPDXRef-Package-${name//[^A-Za-z0-9.-]/-}"
	done <"$work/libraries"
	relations BUILD_DEPENDENCY_OF "${headers[@]}"
	relations BUILD_TOOL_OF "${tools[@]}"
	cat <<-END

		PackageName: hs-share-source
		SPDXID: SPDXRef-Source
		PackageVersion: $version
		PackageDownloadLocation: NOASSERTION
		FilesAnalyzed: true
		PackageVerificationCode: $(cat "$work/code")
		PackageLicenseConcluded: NOASSERTION
		PackageLicenseInfoFromFiles: NOASSERTION
		PackageLicenseDeclared: Apache-2.0 AND (GPL-2.0-only OR BSD-2-Clause)
		PackageCopyrightText: Copyright 2026 The HS-Share authors
	END
	# Behind it, its files, by their names.
	sed -n '/^FileName: /,$p' "$work/files" |
		awk -v RS= '{ gsub(/\n/, "\001"); print }' | sort | sed 's/^/\n/' | tr '\001' '\n'
} >"$work/body"
{
	cat <<-END
		SPDXVersion: SPDX-2.3
		DataLicense: CC0-1.0
		SPDXID: SPDXRef-DOCUMENT
		DocumentName: hs-share-$version
		DocumentNamespace: http://spdx.org/spdxdocs/hs-share-$(sha1sum <"$work/body" | sed 's/ .*//')
		Creator: Organization: The HS-Share authors
		$(sed -n 's/^Creator: Tool: /&/p' "$work/files")
		Created: $(date -u -d "@${SOURCE_DATE_EPOCH:-$(date +%s)}" +%Y-%m-%dT%H:%M:%SZ)

	END
	cat "$work/body"
} >"$out"
