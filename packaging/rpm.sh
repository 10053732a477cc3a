#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes the RPM of this tree in FOLDER. usage: rpm.sh FOLDER [OPTION of rpmbuild...]     --nodeps where rpm knows no packages
set -eu
here=$(dirname "$(readlink -f "$0")")
"$here/source.sh" "$1"
folder=$(readlink -f "$1")
shift
version=$(cd "$folder/source" && dpkg-parsechangelog -S Version)
cd "$folder/source"
exec rpmbuild -bb --build-in-place --define "_topdir $folder/rpm" --define "_rpmdir $folder" --define "hs_version $version" "$@" packaging/hs-share.spec
