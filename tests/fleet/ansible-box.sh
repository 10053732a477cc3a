#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs in the box, as process 1, which becomes systemd: Ansible runs the role as it stands, on the machine that it is on. It
# installs, configures, starts; changes nothing the second time; and takes nothing that is wrong. usage: ansible-box.sh PACKAGE
set -u
package=$(readlink -f "$1") unit=hs-shared.service conf=/etc/hs-share/hs-share.conf
export DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 SYSTEMD_PAGER= HOME=/root
. ./lib.sh
logs=(/box/ansible.log /box/log)
# A systemd with a handful of units, as the package's own test has it.
eval "$(sed -n '/^prepare() {/,/^}/p' unit.sh)"

mkdir /box/roles
tar -C /box/roles -xf role.tar
key=$(openssl rand -hex 32)
cat >/box/ansible.cfg <<-END
	[defaults]
	roles_path = /box/roles
	localhost_warning = False
	nocows = True
END
# play MODE [KEY [EXTRA]]
play() {
	cat >/box/play.yml <<-END
		- hosts: localhost
		  connection: local
		  gather_facts: false
		  roles:
		    - role: hs_share
		      vars:
		        hs_share_package: $package
		        hs_share_fleet_key: "${2-}"
		        hs_share_config:
		          service: { mode: $1, tcp_port: 9177, remember_mode: false }
		          libvirt: { uri: "" }
		          ${3-}
	END
	ANSIBLE_CONFIG=/box/ansible.cfg ansible-playbook /box/play.yml >/box/ansible.out 2>&1
	local status=$?
	cat /box/ansible.out >>/box/ansible.log
	return $status
}
changed() { sed -n 's/.* changed=\([0-9]*\) .*/\1/p' /box/ansible.out; }
pid_of() { systemctl show -P MainPID $unit; }

drive() {
	until_true 60 '[ -d /run/systemd/system ] && systemctl is-system-running 2>/dev/null | grep -qE "running|degraded"' || { echo 'FAILED: systemd does not run'; return 1; }
	ok 'the role runs' 'play observe "$key"'
	ok 'it has changed something' '[ "$(changed)" -gt 2 ]'
	ok 'the package is installed' 'dpkg -s hs-share >/dev/null'
	ok 'the service runs, and starts with the machine' '[ "$(systemctl is-active $unit)" = active ] && [ "$(systemctl is-enabled $unit)" = enabled ]'
	ok 'with that configuration' 'until_true 120 "curl -s -m 10 http://127.0.0.1:9177/v1/status | jq -e \".mode == \\\"observe\\\"\" >/dev/null"'
	ok 'the key is for root alone' '[ "$(stat -c "%U %a" /etc/hs-share/fleet.key)" = "root 600" ] && [ "$(cat /etc/hs-share/fleet.key)" = "$key" ]'
	ok 'and no part of what Ansible prints' '! grep -q "$key" /box/ansible.log'
	ok 'sketches are made by it' 'until_true 120 "curl -s -m 10 http://127.0.0.1:9177/metrics/sketch | grep -q ^hs_share_sketch_key_info"'
	before=$(pid_of)
	ok 'a second time nothing is changed' 'play observe "$key" && [ "$(changed)" = 0 ] && [ "$(pid_of)" = "$before" ]'
	ok 'another mode' 'play off "$key" && [ "$(pid_of)" != "$before" ] && until_true 120 "[ \"\$(curl -s -m 10 http://127.0.0.1:9177/v1/mode | jq -r .mode)\" = off ]"'
	before=$(pid_of)
	ok 'a wrong configuration is refused, by the words of the program' '! play off "$key" "scan: { rounds: 65 }" && grep -q "it takes a number from 1 to 64" /box/ansible.out'
	ok 'a wrong key as well' '! play off 123 && grep -q "64 hexadecimal digits" /box/ansible.out'
	ok 'and nothing is changed by it' '[ "$(pid_of)" = "$before" ] && ! grep -q rounds $conf && [ "$(cat /etc/hs-share/fleet.key)" = "$key" ]'
	ok 'nothing failed on the way' '[ -z "$(systemctl --failed --no-legend --plain)" ]'
	finish
}

for program in /lib/systemd/systemd ip curl jq ansible-playbook; do
	command -v $program >/dev/null || { echo "SKIPPED fleet_ansible: $program is not installed"; exit 77; }
done
prepare >/box/prepare.log 2>&1
(
	drive 2>&1 && [ "$failed" = 0 ] && [ "$passed" -gt 0 ]
	systemctl exit $?
) &
export container=hs-share-test
exec /lib/systemd/systemd --log-target=null
