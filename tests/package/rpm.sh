#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The RPM: it can be built, has the files that the Debian package has, and can be installed into a root of its own, where its
# programs are of its version. usage: rpm.sh SOURCE_DIR FOLDER DEBIAN_PACKAGE
set -u
source=$1 folder=$2 deb=$3
command -v rpmbuild >/dev/null || { echo 'SKIPPED package rpm: rpmbuild is not installed (Debian package rpm)'; exit 77; }
rm -rf "$folder"
mkdir -p "$folder"
passed=0 failed=0
ok() {
	if eval "$2"; then passed=$((passed + 1)); else
		failed=$((failed + 1))
		echo "FAILED: $1"
	fi
}
# The packages that it is built with are Debian's, of which rpm knows nothing.
"$source/packaging/rpm.sh" "$folder" --nodeps >"$folder.log" 2>&1 || { tail -40 "$folder.log"; echo 'FAILED: it could not be built'; exit 1; }
rpm=$(echo "$folder"/x86_64/hs-share-[0-9]*.rpm)

# Without what only one of the two kinds of packages has, and where they have it elsewhere.
files() { sed -E 's,^\./,/,; s,/$,,; s,/zsh/(site-functions|vendor-completions)/,/zsh/,' | grep -vE '^/usr/(lib/\.build-id|share/(licenses|lintian))|/(changelog\.gz|copyright)$' | sort; }
in_deb=$(dpkg-deb --fsys-tarfile "$deb" | tar tf - | grep -v '/$' | files)
in_rpm=$(rpm -qp --qf '[%{FILEMODES:perms} %{FILENAMES}\n]' "$rpm" | sed -n 's/^-[^ ]* //p' | files)
ok 'it has the files of the Debian package' 'diff <(echo "$in_deb") <(echo "$in_rpm")'
ok 'the configuration is one, and is not replaced' '[ "$(rpm -qp --qf "[%{FILENAMES} %{FILEFLAGS:fflags}\n]" "$rpm" | grep "^/etc/.* [a-z]")" = "/etc/hs-share/hs-share.conf cn" ]'
ok 'it needs the libraries' 'rpm -qp --requires "$rpm" | grep -q "^libbpf\.so\.1" && rpm -qp --requires "$rpm" | grep -q "^libvirt\.so\.0"'
ok 'it names its licence' 'rpm -qp --qf "%{LICENSE}" "$rpm" | grep -q "^Apache-2.0 AND"'

version=$(rpm -qp --qf '%{VERSION}' "$rpm")
ok 'it can be installed' 'rpm --root "$folder/root" --nodeps --noscripts -i "$rpm"'
for program in bin/hs-share bin/hs-lab sbin/hs-shared; do
	ok "$program is of its version" '[ "$("$folder/root/usr/$program" --version)" = "${program##*/} $version" ]'
done
ok 'nothing in it has changed since' '[ -z "$(rpm --root "$folder/root" -V --nodeps hs-share)" ]'
ok 'it can be removed' 'rpm --root "$folder/root" --noscripts -e hs-share && [ ! -e "$folder/root/usr/bin/hs-share" ] && [ ! -e "$folder/root/etc/hs-share" ]'
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] || exit 1
rm -rf "$folder"
