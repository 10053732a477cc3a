#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes the Debian package of a build, as FOLDER/hs-share.deb. usage: make.sh CPACK BUILD_DIR FOLDER
set -eu
rm -rf "$3"
"$1" --config "$2/CPackConfig.cmake" -B "$3"
ln "$3"/hs-share_*.deb "$3/hs-share.deb"
dpkg-deb -I "$3/hs-share.deb" control
for library in libbpf1 libc6 libjansson4 libmicrohttpd12 libsystemd0 libvirt0; do
	dpkg-deb -f "$3/hs-share.deb" Depends | grep -q "$library" || { echo "FAILED: it does not depend on $library"; exit 1; }
done
