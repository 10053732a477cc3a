#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs a suite that uses KSM, and leaves the machine as the suite found it however that ends: the settings of KSM and of huge
# pages are put back, what the suite has started is ended. There is one KSM for all: a suite that is interrupted, killed or
# broken in the middle of a burst must not leave ksmd running for those after it.
#
# usage: ksm.sh COMMAND [ARGUMENT...]     the exit status is the command's, or 1 where it left something changed or running
#        ksm.sh --read-only COMMAND [ARGUMENT...]
#                                         for a suite that changes no setting: it runs beside those that do, in a mount namespace
#                                         where the settings cannot be written. 1 where it left something running
#        . ksm.sh                         for settings, settings_differ and settings_restore alone
# HS_KSM_NICE: the nice value of COMMAND, where that is not the caller's (tests/run-all.sh).
# HS_KSM_GRACE: seconds that what was left running has between SIGTERM and SIGKILL (10).
#
# A guard beside it, which is neither in its session nor its child, does the same where this script itself is killed.

# Every setting with its value, a line each.
settings() {
	local file value thp=/sys/kernel/mm/transparent_hugepage
	find /sys/kernel/mm/ksm $thp/{enabled,defrag,shmem_enabled,use_zero_page,khugepaged} -type f -perm -200 2>/dev/null | sort |
		while read -r file; do
			read -r value <"$file"
			value=${value##*[} # of several words, the one that holds is in brackets
			echo "$file ${value%%]*}"
		done
}
settings_differ() { diff <(echo "$1") <(settings) | sed -n 's/^< /it was /p; s/^> /it is  /p'; } # SETTINGS
# ksmd is stopped first, and goes on last: some settings can be changed only where nothing is shared.
settings_restore() { # SETTINGS
	local file value run=/sys/kernel/mm/ksm/run
	[ "$(settings)" != "$1" ] || return 0
	[ "$(cat $run)" != 1 ] || echo 0 >$run
	while read -r file value; do
		[ "$file" = $run ] || [ "$(settings | sed -n "s,^$file ,,p")" = "$value" ] || echo "$value" >"$file"
	done <<<"$1"
	value=$(sed -n "s,^$run ,,p" <<<"$1")
	[ "$(cat $run)" = "$value" ] || echo "$value" >$run
	[ "$(settings)" = "$1" ]
}

# Processes of a session; those that have ended and are not reaped are not counted.
session() { # LEADER
	cat /proc/[0-9]*/stat 2>/dev/null | awk -v s="$1" '{ pid = $1; sub(/.*\) /, ""); if ($4 == s && $1 != "Z") print pid }'
}
gone() { [ -z "$(session "$1")" ]; }
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/service/nap.sh"
# Lets a session end by itself, then by SIGTERM, then by SIGKILL. SECONDS1 SECONDS2 LEADER; what had to be ended is printed.
end_session() {
	local end left=
	for step in "$1 TERM" "$2 KILL" '5 KILL'; do
		end=$((SECONDS + ${step% *}))
		while ! gone "$3" && [ $SECONDS -lt $end ]; do nap 0.1; done
		gone "$3" && break
		[ -n "$left" ] || left=$(for p in $(session "$3"); do tr '\0' ' ' <"/proc/$p/cmdline" | cut -c1-100; echo; done 2>/dev/null | grep .)
		kill -"${step#* }" $(session "$3") 2>/dev/null
	done
	[ -z "$left" ] || echo "$left"
}

[ "${BASH_SOURCE[0]}" = "$0" ] || return 0

if [ "${1-}" = --guard ]; then # FIFO SETTINGS
	trap '' INT TERM HUP
	exec <"$2"
	read -r leader
	[ -z "$leader" ] || ! read -r _ || exit 0 # all is well: it says so
	end_session 0 30 "${leader:-none}"
	[ -z "$3" ] || settings_restore "$3"
	exit
fi

set -u
if [ "$1" = --read-only ]; then
	shift
	[ -n "${HS_KSM_READ_ONLY-}" ] || HS_KSM_READ_ONLY=yes exec unshare --mount --propagation slave "$0" --read-only "$@"
	# What others change meanwhile is not this suite's: nothing is compared, and nothing is put back. And nobody waits for it.
	settings() { echo; }
	unset HS_KSM_NICE
	for place in /sys/kernel/mm/ksm /sys/kernel/mm/transparent_hugepage; do
		[ ! -d $place ] || { mount --bind $place $place && mount -o remount,bind,ro $place; } || exit 1
	done
fi
name=$(basename "$1")
before=$(settings)
place=$(mktemp -d)
mkfifo "$place/hold"
(setsid "$0" --guard "$place/hold" "$before" >/dev/null 2>&1 </dev/null &)
exec {hold}>"$place/hold"
rm -r "$place"

[ -z "${HS_KSM_NICE-}" ] || renice -n "$HS_KSM_NICE" -p $$ >/dev/null
# In a session of its own, so that all of it can be found. Commands in the background have SIGINT off: it is on for this one.
HS_KSM_KEPT=yes env --default-signal=INT,QUIT setsid "$@" <&0 {hold}>&- &
leader=$!
echo "$leader" >&"$hold"
interrupted=
pass_on() { # SIGNAL STATUS
	interrupted=$2
	kill -"$1" $(session "$leader") 2>/dev/null
}
trap 'pass_on INT 130' INT
trap 'pass_on TERM 143' TERM HUP
while [ -d "/proc/$leader" ] && [ -z "$interrupted" ]; do
	wait "$leader"
	status=$?
done

trap '' INT TERM HUP
# Interrupted it has the time that undoing takes.
left=$(end_session $((${interrupted:+58} + 2)) "${HS_KSM_GRACE:-10}" "$leader")
[ -z "$left" ] || printf 'FAILED: %s left processes, which were ended now:\n%s\n' "$name" "$left"
changed=$(settings_differ "$before")
if [ -n "$changed" ]; then
	printf 'FAILED: %s left settings of the machine changed:\n%s\n' "$name" "$changed"
	settings_restore "$before" && echo 'They are put back.' || echo "They could not be put back: $(settings_differ "$before")"
fi
echo done >&"$hold"
[ -z "$interrupted" ] || exit "$interrupted"
[ -z "$left$changed" ] || exit 1
exit "$status"
