#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs one fuzz target for some seconds, from its seeds and from what earlier runs have found worth keeping.
# usage: run.sh TARGET SEEDS WORK_DIR SECONDS MAX_LEN
set -eu
target=$1 seeds=$2 work=$3 seconds=$4 max_len=$5
name=$(basename "$target")
mkdir -p "$work/corpus"
log=$work/log
if ! "$target" -max_total_time="$seconds" -max_len="$max_len" -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 \
	-artifact_prefix="$work/" "$work/corpus" "$seeds" >"$log" 2>&1; then
	tail -60 "$log"
	echo "fuzz: $name found something; the input is the newest crash-, leak-, oom- or timeout- file in $work:" \
		"$target FILE shows it again"
	exit 1
fi
runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
covered=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -1)
seeded=$(find "$seeds" -type f | wc -l)
# A target that does not get past its seeds tests nothing.
[ "${runs:-0}" -gt "$seeded" ] || { tail -20 "$log"; echo "fuzz: $name made ${runs:-no} runs with $seeded seeds"; exit 1; }
echo "fuzz: $name: $runs inputs in $seconds s from $seeded seeds, $covered edges reached, nothing found"
