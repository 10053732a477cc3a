#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The log's levels: as the journal understands them, and on a terminal as a person does. usage: log.sh HS_SHARED
set -u
conf=$(mktemp)
trap 'rm -f "$conf"' EXIT
printf '[service]\nstate_dir = /proc/none\n' >"$conf" # which nobody can make: so it ends at once, with an error
journal=$(timeout 20 "$1" -c "$conf" 2>&1)
terminal=$(timeout 20 script -qec "'$1' -c '$conf'" /dev/null </dev/null | tr -d '\r')
[ "${journal#<3>cannot make the folder /proc/none}" != "$journal" ] || { echo "FAILED: to the journal: $journal"; exit 1; }
[ "$terminal" = "error: ${journal#<3>}" ] || { echo "FAILED: on a terminal: $terminal"; exit 1; }
echo 'both are right'
