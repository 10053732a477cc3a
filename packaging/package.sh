#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes the Debian packages of this tree in FOLDER. With HS_BUILT=BUILD_DIR (its full path) what is built there is packed;
# without, it is built as Debian builds.
# usage: package.sh FOLDER [OPTION of dpkg-buildpackage...]     without options: -b -us -uc, binary packages, not signed
set -eu
"$(dirname "$(readlink -f "$0")")/source.sh" "$1"
cd "$1/source"
shift
[ $# -gt 0 ] || set -- -b -us -uc
[ -z "${HS_BUILT-}" ] || export HS_BUILT
# Without what the caller's own builds are told by their environment.
exec env -u CFLAGS -u CXXFLAGS -u LDFLAGS dpkg-buildpackage "$@"
