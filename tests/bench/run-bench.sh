#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs the benchmarks, or one of them. usage: run-bench.sh [NAME] [OPTION...]; --list names them.
set -euo pipefail
keeper=$(dirname "$(readlink -f "$0")")/../ksm.sh
names=(hash index view live guests)
if [ "${1-}" = --list ]; then
	printf '%s\n' "${names[@]}"
	exit
fi
cd "$(dirname "$keeper")/../build/release/tests/bench"

# The one that uses KSM leaves it as it was, also when it is interrupted.
below() { case $1 in live) "$keeper" "./bench_$1" "${@:2}" ;; *) "./bench_$1" "${@:2}" ;; esac; }
name=${1:-}
case $name in
'' | -*)
	# Each prints one JSON object with --json; together they are a stream of objects.
	for n in "${names[@]}"; do
		[[ " $* " == *" --json "* ]] || printf '\n== %s ==\n' "$n"
		below "$n" "$@"
	done
	;;
*)
	if [ ! -x "./bench_$name" ]; then
		echo "bench: there is no benchmark \"$name\"; there are: ${names[*]}" >&2
		exit 2
	fi
	shift
	below "$name" "$@"
	;;
esac
