#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The manifest for Kubernetes against what it has to agree with: the unit's capabilities, the ready rule for KubeVirt, the programs'
# options, the configuration's checker; and within itself. The kinds' published schemas are not looked at here.
# usage: manifest.sh SOURCE_DIR HS_SHARED HS_SHARE
set -u
source=$1 shared=$2 share=$3
HS_KSM_KEPT=untouched # nothing is run but checks
. "$(dirname "$(readlink -f "$0")")/../service/lib.sh"
python3 -c 'import yaml' 2>/dev/null || { echo 'SKIPPED fleet_manifest: PyYAML is not installed (Debian package python3-yaml)'; exit 77; }
python3 -c 'import json, sys, yaml; json.dump(list(yaml.safe_load_all(open(sys.argv[1]))), sys.stdout)' "$source/fleet/kubernetes/hs-share.yaml" >"$dir/all.json"
of() { jq -r ".[] | select(.kind == \"$1\") | $2" "$dir/all.json"; }

ok 'three objects, in a namespace of their own' '[ "$(jq -r "[.[].kind] | sort | join(\" \")" "$dir/all.json")" = "ConfigMap DaemonSet Namespace" ] && [ "$(jq -r ".[] | select(.kind != \"Namespace\") | .metadata.namespace" "$dir/all.json" | sort -u)" = "$(of Namespace .metadata.name)" ]'
ok 'the capabilities of the unit' '[ "$(of DaemonSet ".spec.template.spec.containers[0].securityContext.capabilities.add | sort | join(\" \")")" = "$(sed -n "s/^CapabilityBoundingSet=//p" "$source/service/daemon/hs-shared.service.in" | tr " " "\n" | sed s/^CAP_// | sort | xargs)" ] && [ "$(of DaemonSet ".spec.template.spec.containers[0].securityContext | [.privileged, .capabilities.drop[0]] | join(\" \")")" = " ALL" ]'
ok 'no filter of system calls, as the unit has none' '[ "$(of DaemonSet .spec.template.spec.securityContext.seccompProfile.type)" = Unconfined ]'
ok 'on nodes with the label alone' '[ "$(of DaemonSet ".spec.template.spec.nodeSelector[\"hs-share.io/enabled\"]")" = true ] && grep -q "label node .* hs-share.io/enabled=true" "$source/docs/fleet.md"'
ok 'guests are seen' '[ "$(of DaemonSet .spec.template.spec.hostPID)" = true ]'
ok 'its selector is its label' '[ "$(of DaemonSet ".spec | .selector.matchLabels == .template.metadata.labels")" = true ]'
ok 'each mount has its volume' '[ "$(of DaemonSet ".spec.template.spec | [.containers[0].volumeMounts[].name] - [.volumes[].name] | length")" = 0 ]'
ok 'what the unit may write, and no more' '[ "$(of DaemonSet ".spec.template.spec.containers[0].volumeMounts[] | select(.readOnly | not) | .mountPath" | sort | xargs)" = "/run/hs-share /sys/fs/bpf /sys/kernel/mm /var/lib/hs-share" ]'
ok 'its time to end is the unit'"'"'s' '[ "$(of DaemonSet .spec.template.spec.terminationGracePeriodSeconds)" = "$(sed -n "s/^TimeoutStopSec=//p" "$source/service/daemon/hs-shared.service.in")" ]'

# ---- the configuration
of ConfigMap '.data["hs-share.conf"]' >"$dir/pod.conf"
ok 'its configuration is one' '"$shared" --config "$dir/pod.conf" --check-config >"$dir/checked" && grep -q "^mode = observe" "$dir/checked"'
sed -E 's/^#([a-z_]+ =|\[tls\])/\1/; s|^fleet_key_file = .*|fleet_key_file = '"$dir/fleet.key"'|' "$dir/pod.conf" >"$dir/all.conf"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=x -keyout "$dir/tls.key" -out "$dir/tls.crt" 2>/dev/null
cp "$dir/tls.crt" "$dir/ca.crt"
openssl rand -hex 32 >"$dir/fleet.key"
chmod 600 "$dir"/*.key
sed -i "s|/etc/hs-share-secret|$dir|" "$dir/all.conf"
ok 'and with what stands there as a comment' '"$shared" --config "$dir/all.conf" --check-config >"$dir/checked" && grep -q "^port = 9178" "$dir/checked" && grep -q "^fleet_key_file = /" "$dir/checked"'
ok 'the rule is the ready one' 'diff <(sed -n "/^\[discover kubevirt\]/,/^[^a-z[]/p" "$dir/pod.conf" | grep -v "^\[" | grep .) <("$shared" --example-config | sed -n "/^#  \[discover kubevirt\]/,/^#$/s/^#  \([a-z].*\)/\1/p")'
# ---- what it runs
ok 'the program and its option' '[ "$(of DaemonSet ".spec.template.spec.containers[0].command | map(select(startswith(\"-\") | not)) | join(\" \")")" = "nsenter /usr/sbin/hs-shared" ] && "$shared" --help | grep -q -- --config'
ok 'what asks whether it lives' '[ "$(of DaemonSet ".spec.template.spec.containers[0].livenessProbe.exec.command | join(\" \")")" = "hs-share mode" ] && "$share" --help >"$dir/help" && grep -q "^  mode " "$dir/help"'
finish
