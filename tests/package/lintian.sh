#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What lintian finds in a package, or in all that a .changes file names: nothing that is an error or a warning and has no override with a reason.
# usage: lintian.sh PACKAGE_OR_CHANGES
set -u
command -v lintian >/dev/null || { echo 'SKIPPED package lintian: it is not installed (Debian package lintian)'; exit 77; }
found=$(lintian --allow-root --no-cfg --tag-display-limit 0 "$1" 2>&1)
[ -z "$found" ] || { echo "$found"; exit 1; }
echo 'lintian finds nothing'
