#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The packages are the same byte for byte wherever and whenever they are built: built twice as Debian builds them, in folders
# with names of another length, at other times of the clock, with another umask, locale, time zone and number of jobs. And
# lintian finds nothing in any of them, the source package included.
# usage: twice.sh SOURCE_DIR FOLDER
set -u
source=$1 folder=$2
command -v dh >/dev/null || { echo 'SKIPPED package twice: debhelper is not installed (Debian package debhelper)'; exit 77; }
rm -rf "$folder"
mkdir -p "$folder/one" "$folder/another-place/two"
unset HS_BUILT DEB_BUILD_OPTIONS SOURCE_DATE_EPOCH

failed() {
	tail -40 "$1"
	echo "FAILED: it could not be built; $1 has all of it"
	exit 1
}
umask 022
LC_ALL=C.UTF-8 TZ=UTC DEB_BUILD_OPTIONS=parallel=2 "$source/packaging/package.sh" "$folder/one" -us -uc >"$folder/one.log" 2>&1 ||
	failed "$folder/one.log"
# The second one of the source package that the first has made: so that is whole, too.
umask 077
log=$folder/another-place/two.log
{
	dpkg-source -x "$folder"/one/*.dsc "$folder/another-place/two/of-the-source-package" &&
		cd "$folder/another-place/two/of-the-source-package" &&
		LC_ALL=C TZ=Asia/Kathmandu DEB_BUILD_OPTIONS=parallel=1 dpkg-buildpackage -us -uc
} >"$log" 2>&1 || failed "$log"

passed=0 failed=0
for package in "$folder"/one/*.deb; do
	other=$folder/another-place/two/${package##*/}
	if cmp "$package" "$other"; then passed=$((passed + 1)); else
		failed=$((failed + 1))
		echo "FAILED: ${package##*/} is not the same"
	fi
done
if command -v lintian >/dev/null; then
	if found=$("$(dirname "$0")/lintian.sh" "$folder"/one/*.changes); then passed=$((passed + 1)); else
		failed=$((failed + 1))
		echo "FAILED: lintian: $found"
	fi
else
	echo 'SKIPPED package twice lintian: it is not installed (Debian package lintian)'
fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -ge 2 ] || exit 1
rm -rf "$folder"
