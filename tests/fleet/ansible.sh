#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The Ansible role on a copy of this machine (tests/package/box.sh) under systemd. usage: ansible.sh SOURCE_DIR PACKAGE FOLDER
set -u
source=$1 package=$2 folder=$3
here=$(dirname "$(readlink -f "$0")")
command -v ansible-playbook >/dev/null || { echo 'SKIPPED fleet_ansible: it is not installed (Debian package ansible-core)'; exit 77; }
mkdir -p "$folder"
tar -C "$source/fleet/ansible" -cf "$folder/role.tar" hs_share
export HS_KSM_KEPT=untouched # nothing is shared there
"$source/tests/package/box.sh" --systemd "$folder/box" "$here/ansible-box.sh" "$source/tests/package/unit.sh" "$source/tests/service/lib.sh" \
	"$folder/role.tar" "$package" -- ./ansible-box.sh "./$(basename "$package")"
status=$?
rm -rf "$folder"
exit $status
