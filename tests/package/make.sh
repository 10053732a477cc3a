#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes the Debian package of what is built already, as FOLDER/hs-share.deb. usage: make.sh SOURCE_DIR BUILD_DIR FOLDER
set -eu
command -v dh >/dev/null || { echo 'SKIPPED package: debhelper is not installed (Debian package debhelper)'; exit 77; }
rm -rf "$3"
HS_BUILT=$2 DEB_BUILD_OPTIONS=noautodbgsym "$1/packaging/package.sh" "$3" >"$3.log" 2>&1 || { tail -40 "$3.log"; exit 1; }
ln "$3"/hs-share_*.deb "$3/hs-share.deb"
dpkg-deb -I "$3/hs-share.deb" control
for library in libbpf1 libc6 libjansson4 libmicrohttpd12 libsystemd0 libvirt0; do
	dpkg-deb -f "$3/hs-share.deb" Depends | grep -q "$library" || { echo "FAILED: it does not depend on $library"; exit 1; }
done
