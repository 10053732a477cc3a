#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes the Debian packages of this tree in FOLDER, of a copy of the tree in FOLDER/source: nothing is written into the tree.
# With HS_BUILT=BUILD_DIR (its full path) what is built there is packed; without, it is built as Debian builds. A commit without a tag has a
# version of its own (cmake/version.sh), which is put before debian/changelog.
# usage: package.sh FOLDER [OPTION of dpkg-buildpackage...]     without options: -b -us -uc, binary packages, not signed
set -eu
root=$(readlink -f "$(dirname "$(readlink -f "$0")")/..")
mkdir -p "$1"
folder=$(readlink -f "$1")
shift
[ $# -gt 0 ] || set -- -b -us -uc

rm -rf "$folder/source"
mkdir "$folder/source"
cd "$root"
when=$(dpkg-parsechangelog -S Date)
if [ -e .git ]; then
	when=$(git log -1 --format=%cD)
	git ls-files -co --exclude-standard | while IFS= read -r f; do [ ! -e "$f" ] || printf '%s\n' "$f"; done
else
	find . \( -path ./build -o -path ./obj -o -path "${folder/#$root/.}" \) -prune -o ! -type d -print
fi >"$folder/files"
tar cf - -T "$folder/files" | tar xf - -C "$folder/source"
rm "$folder/files"
version=$(cmake/version.sh .)
cd "$folder/source"
if [ "$version" != "$(dpkg-parsechangelog -S Version)" ]; then
	{
		printf 'hs-share (%s) unstable; urgency=medium\n\n  * A commit between releases.\n\n' "$version"
		printf ' -- %s  %s\n\n' "$(dpkg-parsechangelog -S Maintainer)" "$when"
		# What the changelog begins with is to come, or has been: as the version sorts.
		[[ $version == *~* ]] && sed '1,/^ -- /d' debian/changelog || cat debian/changelog
	} >debian/changelog.new
	mv debian/changelog.new debian/changelog
fi
[ -z "${HS_BUILT-}" ] || export HS_BUILT
# Without what the caller's own builds are told by their environment.
exec env -u CFLAGS -u CXXFLAGS -u LDFLAGS dpkg-buildpackage "$@"
