#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Prints the version of a source tree. debian/changelog begins with the version that was released last, or that comes next;
# git says which commit it is:
#   0.2.0                 the commit with the tag v0.2.0; and any tree without git
#   0.2.0+12.gabc1234     12 commits after that tag
#   0.2.0~34.gabc1234     34 commits after the tag before (or the first commit): 0.2.0 is still to come
# They sort as dpkg and rpm compare versions. usage: version.sh SOURCE_DIR
set -eu
cd "$1"
next=$(sed -nE '1s/^hs-share \(([^)]+)\).*/\1/p' debian/changelog)
[ -n "$next" ] || { echo 'version.sh: debian/changelog does not begin with a version' >&2; exit 1; }
# A repository of its own, not one that the tree happens to lie in.
if [ -e .git ] && commit=$(git rev-parse --short=7 HEAD 2>/dev/null); then
	tag=$(git describe --tags --match 'v[0-9]*' --abbrev=0 2>/dev/null) || tag=
	after=$(git rev-list --count ${tag:+"$tag.."}HEAD)
	case $tag in
	"v$next") [ "$after" = 0 ] || next=$next+$after.g$commit ;;
	*) next=$next~$after.g$commit ;;
	esac
fi
echo "$next"
