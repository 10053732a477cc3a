#!/bin/bash
# The counts of bench_kvm on both kernels. usage: bench.sh BUILD_DIR_OF_TESTS_KVM
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
for series in 6.1 6.12; do
	echo "== Linux $series"
	"$here/host.sh" "$series" "$1" "$1/bench_kvm"
done
