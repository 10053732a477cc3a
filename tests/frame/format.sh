#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every C file is as clang-format leaves it. usage: format.sh SOURCE_DIR
set -eu
cd "$1"
command -v clang-format >/dev/null || { echo "SKIPPED format: clang-format is not installed"; exit 77; }
find base remote hash ept scan share pipeline trace service lab include tests -name '*.[ch]' 2>/dev/null | sort | xargs clang-format --dry-run -Werror
echo "all C files are formatted"
