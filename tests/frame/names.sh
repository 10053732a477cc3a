#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# One prefix, one meaning: no prefix of names is declared by headers of two folders (folders.txt). usage: names.sh SOURCE_DIR
set -eu
. "$(dirname "$0")/table.sh"
tree '*.h' | grep -v '^tests/' | xargs awk -f "$here/table.awk" -f "$here/names.awk" "$table"
