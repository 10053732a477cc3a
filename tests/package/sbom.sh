#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The bill of materials in the package: it hangs together, has the sources as they are, and names what the package depends on,
# with the versions that are installed here. usage: sbom.sh SOURCE_DIR PACKAGE
set -u
source=$1 deb=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bill=$work/usr/share/doc/hs-share/hs-share.spdx
passed=0 failed=0
ok() {
	if eval "$2"; then passed=$((passed + 1)); else
		failed=$((failed + 1))
		echo "FAILED: $1"
	fi
}

dpkg-deb -x "$deb" "$work"
ok 'it is in the package' '[ -s "$bill" ]'
ok 'it says what it is' 'grep -qx "SPDXVersion: SPDX-2.3" "$bill" && grep -qx "DataLicense: CC0-1.0" "$bill"'
ok 'it is of this version' '[ "$(awk -F": " "/^PackageName: hs-share\$/ { seen = 1 } seen && /^PackageVersion/ { print \$2; exit }" "$bill")" = "$(dpkg-deb -f "$deb" Version)" ]'
# Every name is given once, and what is related is there.
ok 'no two things have one name' '[ -z "$(sed -n "s/^SPDXID: //p" "$bill" | sort | uniq -d)" ]'
ok 'what is related is there' '[ -z "$(awk "/^SPDXID: / { there[\$2] = 1 } /^Relationship: / { from[\$2]; to[\$4] } END { for (i in from) if (!(i in there)) print i; for (i in to) if (!(i in there)) print i }" "$bill")" ]'

# The libraries: dpkg-shlibdeps has found them another way.
depends=$(dpkg-deb -f "$deb" Depends | tr ',' '\n' | sed 's/^ *//; s/[ |].*//' | sort -u)
ok 'the package depends on something' '[ "$(wc -l <<<"$depends")" -gt 8 ]'
for name in $depends; do
	ok "$name is named, with its version" '[ "$(awk -v n="$name" "\$1 == \"PackageName:\" { in_it = \$2 == n } in_it && \$1 == \"PackageVersion:\" { print \$2 }" "$bill")" = "$(dpkg-query -W -f "\${Version}" "$name")" ] && grep -qx "Relationship: SPDXRef-Package DYNAMIC_LINK SPDXRef-Package-$name" "$bill"'
done
ok 'no other library is' '[ "$(grep -c " DYNAMIC_LINK " "$bill")" = "$(wc -l <<<"$depends")" ]'
for name in libxxhash-dev clang bpftool; do ok "$name is named" 'grep -q "^Relationship: SPDXRef-Package-$name BUILD_[A-Z_]* SPDXRef-Package$" "$bill"'; done

# The sources: as many as there are, with their digests and licences.
of() { awk -v f="FileName: ./$1" -v key="$2:" 'RS == "\n" && $0 == f { seen = 1 } seen && $1 == key { sub(/^[^ ]+ /, ""); print } seen && $0 == "" { exit }' "$bill"; }
for file in run ept/bpf/kvm_walk.bpf.c service/cli/table.c; do
	ok "$file has its digest" '[ "$(of $file FileChecksum)" = "SHA1: $(sha1sum <"$source/$file" | sed "s/ .*//")" ]'
done
ok 'an Apache-2.0 file is' '[ "$(of share/engine.c LicenseInfoInFile)" = Apache-2.0 ]'
ok 'a BPF program has two licences' '[ "$(of ept/bpf/kvm_walk.bpf.c LicenseInfoInFile | sort | xargs)" = "BSD-2-Clause GPL-2.0-only" ]'
ok 'all sources are in it' '[ "$(grep -c "^FileName: " "$bill")" -gt 700 ]'
ok 'nothing that was built is' '! grep -E "^FileName: \./(build|obj|debian/(hs-share|\.debhelper))/" "$bill"'
ok 'the code that verifies them is right' '[ "$(sed -n "s/^PackageVerificationCode: //p" "$bill")" = "$(sed -n "s/^FileChecksum: SHA1: //p" "$bill" | LC_ALL=C sort | tr -d "\n" | sha1sum | sed "s/ .*//")" ]'
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
