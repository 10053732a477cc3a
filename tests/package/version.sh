#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The version of a tree: with and without git, on a tag, before it and after it; and the order in which dpkg has them. The
# changelogs begin with the same version. usage: version.sh SOURCE_DIR
set -u
here=$(readlink -f "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null GIT_AUTHOR_NAME=t GIT_AUTHOR_EMAIL=t@localhost GIT_COMMITTER_NAME=t GIT_COMMITTER_EMAIL=t@localhost
failed=0 passed=0
# is WHAT PATTERN: the version of $work/tree
is() {
	local version
	version=$("$here/cmake/version.sh" "$work/tree" 2>&1)
	if [[ $version =~ ^$2$ ]]; then passed=$((passed + 1)); else
		failed=$((failed + 1))
		echo "FAILED: $1: it is \"$version\", not $2"
	fi
	versions+=("$version")
}
commit() { git -C "$work/tree" commit -q --allow-empty -m "$1"; }
next() { printf 'hs-share (%s) unstable; urgency=medium\n' "$1" >"$work/tree/debian/changelog"; }

mkdir -p "$work/tree/debian"
versions=()
next 0.2.0
is 'without git' '0\.2\.0'
versions=()
git -C "$work" init -q . 2>/dev/null # the tree lies in somebody else's repository
is 'in a repository that is not its own' '0\.2\.0'
versions=()
git -C "$work/tree" init -q .
commit one
commit two
is 'before any tag' '0\.2\.0~2\.g[0-9a-f]{7}'
git -C "$work/tree" tag -a -m x v0.1.0
commit three
git -C "$work/tree" tag elsewhere
is 'after the tag before' '0\.2\.0~1\.g[0-9a-f]{7}'
git -C "$work/tree" tag -d v0.1.0 >/dev/null
git -C "$work/tree" tag v0.2.0
is 'on its tag' '0\.2\.0'
commit four
commit five
is 'after its tag' '0\.2\.0\+2\.g[0-9a-f]{7}'
next 0.2.1
is 'with the next one begun' '0\.2\.1~2\.g[0-9a-f]{7}'
for ((i = 2; i < ${#versions[@]}; i++)); do
	dpkg --compare-versions "${versions[i - 1]}" lt "${versions[i]}" || { echo "FAILED: ${versions[i - 1]} does not sort before ${versions[i]}"; failed=$((failed + 1)); }
done
: >"$work/tree/debian/changelog"
is 'without a version' '.*does not begin with a version'

debian=$(sed -nE '1s/^hs-share \(([^)]+)\).*/\1/p' "$here/debian/changelog")
page=$(sed -nE 's/^## \[?([0-9][0-9.]*)\]?.*/\1/p' "$here/CHANGELOG.md" | head -1)
if [ -n "$debian" ] && [ "$debian" = "$page" ]; then passed=$((passed + 1)); else
	failed=$((failed + 1))
	echo "FAILED: debian/changelog begins with $debian, CHANGELOG.md with $page"
fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
