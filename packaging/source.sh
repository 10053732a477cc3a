#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copies this tree to FOLDER/source, without what was built, so that packages are made there and nothing is written into the
# tree. A commit without a tag has a version of its own (cmake/version.sh), which the copy's debian/changelog begins with.
# usage: source.sh FOLDER
set -eu
cd "$(dirname "$(readlink -f "$0")")/.."
mkdir -p "$1"
folder=$(readlink -f "$1")

rm -rf "$folder/source"
mkdir "$folder/source"
when=$(dpkg-parsechangelog -S Date)
if [ -e .git ] && command -v git >/dev/null; then
	when=$(git log -1 --format=%cD)
	git ls-files -co --exclude-standard | while IFS= read -r f; do [ ! -e "$f" ] || printf '%s\n' "$f"; done
else
	find . \( -path ./.git -o -path ./build -o -path ./obj -o -path "${folder/#$PWD/.}" \) -prune -o ! -type d -print
fi >"$folder/files"
tar cf - -T "$folder/files" | tar xf - -C "$folder/source"
rm "$folder/files"
version=$(cmake/version.sh .)
cd "$folder/source"
[ "$version" != "$(dpkg-parsechangelog -S Version)" ] || exit 0
{
	printf 'hs-share (%s) unstable; urgency=medium\n\n  * A commit between releases.\n\n' "$version"
	printf ' -- %s  %s\n\n' "$(dpkg-parsechangelog -S Maintainer)" "$when"
	# What the changelog begins with is to come, or has been: as the version sorts.
	[[ $version == *~* ]] && sed '1,/^ -- /d' debian/changelog || cat debian/changelog
} >debian/changelog.new
mv debian/changelog.new debian/changelog
