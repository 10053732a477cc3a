#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The counts of bench_kvm. usage: bench.sh BUILD_DIR_OF_TESTS_KVM [SERIES...]     SERIES: of kernel.sh; 6.1 and 6.12
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
build=$1
shift
[ $# -gt 0 ] || set -- 6.1 6.12
for series in "$@"; do
	echo "== Linux $series"
	"$here/host.sh" "$series" "$build" "$build/bench_kvm"
done
