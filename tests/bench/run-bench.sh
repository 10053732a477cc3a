#!/bin/bash
# Runs the benchmarks, or one of them. usage: run-bench.sh [NAME] [OPTION...]; --list names them.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../../build/release/tests/bench"

names=(hash index view live)
name=${1:-}
case $name in
--list)
	printf '%s\n' "${names[@]}"
	;;
'' | -*)
	# Each prints one JSON object with --json; together they are a stream of objects.
	for n in "${names[@]}"; do
		[[ " $* " == *" --json "* ]] || printf '\n== %s ==\n' "$n"
		"./bench_$n" "$@"
	done
	;;
*)
	if [ ! -x "./bench_$name" ]; then
		echo "bench: there is no benchmark \"$name\"; there are: ${names[*]}" >&2
		exit 2
	fi
	shift
	exec "./bench_$name" "$@"
	;;
esac
