#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The command line as a person meets it: help, wrong options, processes that cannot be guests. Each wrong use has to name
# what is wrong. usage: cli.sh PROGRAM [run]
# run: what `run` and `unshare` say of such processes, alone. They take KSM for themselves before they look; nothing else does.
set -u
part=${2-}
[ -n "${HS_KSM_KEPT-}" ] || exec "$(dirname "$(readlink -f "$0")")/../../ksm.sh" $([ "$part" = run ] || echo --read-only) "$0" "$@"
. "$(dirname "$(readlink -f "$0")")/../nap.sh"
program=$1
passed=0 failed=0

# expect STATUS PATTERN ARGUMENT...: exit status and a pattern in what is printed
expect() {
	local status=$1 pattern=$2 out rc
	shift 2
	out=$(timeout 20 "$program" "$@" 2>&1 </dev/null)
	rc=$?
	if [ "$rc" = "$status" ] && grep -qE -- "$pattern" <<<"$out"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		printf 'FAILED hs-share %s\n  status %s (wanted %s), pattern: %s\n  printed: %s\n' "$*" "$rc" "$status" "$pattern" "$out"
	fi
}

wrong_uses() {
	expect 2 'Usage: hs-share COMMAND'
	expect 0 'inspect .*look at one guest' --help
	expect 0 '^hs-share [0-9]' --version
	said=$("$program" --help 2>&1 >/dev/full)
	if [ $? = 1 ] && [ "$said" = 'hs-share: cannot write all of standard output: No space left on device' ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAILED --help to a full disk: $said"
	fi
	expect 2 'no command "frobnicate"; the commands are: run inspect record unshare' frobnicate
	for command in run inspect record unshare; do
		expect 0 '--pid=PID' "$command" --help
		expect 2 "unrecognized option '--nonsense'" "$command" --nonsense
		expect 2 '--pid: "abc" is no process id' "$command" --pid abc
		expect 2 '--pid: "-3" is no process id' "$command" --pid -3
		expect 2 '--pid: "" is no process id' "$command" --pid ''
		expect 2 '"stray" is not an option' "$command" --pid 1 stray
		expect 2 '--min-memory: "12Q" is no size' "$command" --pid 1 --min-memory 12Q
	done
	expect 2 'no guest is named; give --pid PID' run
	expect 2 'process 1 is named twice' run --pid 1 --pid 1
	expect 2 '--duration: "0" is not a number from 1' run --pid 1 --duration 0
	expect 2 '--duration: "soon" is not a number' run --pid 1 --duration soon
	expect 2 '--cpu-percent: "101" is not a number from 1 to 100' run --pid 1 --cpu-percent 101
	expect 2 '--max-hot: "512" is not a number from 0 to 511' run --pid 1 --max-hot 512
	expect 2 '--rounds: "65" is not a number from 1 to 64' run --pid 1 --rounds 65
	expect 2 '--keep-shared and --dry-run exclude' run --pid 1 --keep-shared --dry-run
	expect 2 '--look is of use with --dry-run alone' run --pid 1 --look
	for command in run 'record --output x'; do
		expect 2 '--share: "everybody" is not allowed; it takes group, guest or zero' $command --pid 1 --share everybody
	done
	expect 2 "unrecognized option '--share'" inspect --pid 1 --share zero
	expect 2 '--no-wait is of use with --look alone' report --no-wait
	expect 2 '--state-dir: "run/x" is no absolute path' unshare --pid 1 --state-dir run/x
	expect 2 'inspect looks at one guest' inspect --pid 1 --pid 2
	expect 2 'no guest is named; give --pid PID' record --output x
	expect 2 'give --output FILE' record --pid 1
	expect 2 '--allow-foreign is of use with --merge alone' record --pid 1 --output x --allow-foreign
	expect 1 'cannot make /nonexistent/x: No such file' record --pid 1 --output /nonexistent/x
	expect 1 'overwrites nothing' record --pid 1 --output /dev/null

	# commands that talk to the daemon: none listens there
	nowhere=/nonexistent/control.sock
	for command in status guests stats report history watch mode reload; do
		expect 0 '--socket=PATH' "$command" --help
		expect 3 "$nowhere.*start it with .(hs-shared &|systemctl start hs-shared)" "$command" --socket "$nowhere"
		expect 2 "unrecognized option '--nonsense'" "$command" --nonsense
	done
	# tables: what their columns are, and what is no column
	for command in run status guests report history; do
		expect 0 '^[A-Z-]+ +[a-z]' "$command" --columns=help
		expect 2 '--columns: there is no column "NONE"; the columns are [A-Z-]+, [A-Z-]+,' "$command" --columns NONE
		expect 2 '--columns: there is no column ""; the columns are' "$command" --columns ''
		expect 2 '--json prints all there is: it excludes the options of the table' "$command" --json --noheadings $([ "$command" != run ] || echo --pid 1)
	done
	expect 2 "unrecognized option '--columns'" show web1 --columns ID
	for command in show opt-in opt-out; do
		expect 0 '--pid=PID' "$command" --help
		expect 3 "$nowhere" "$command" web1 --socket "$nowhere"
		expect 2 'no guest is named' "$command"
		expect 2 'name a domain or give --pid, not both' "$command" web1 --pid 5
		expect 2 '"web2" is one word too many' "$command" web1 web2
	done
	expect 2 '"sometimes" is no mode; the modes are off, observe, save and auto' mode sometimes
	expect 2 '--keep and --undo exclude one another' mode off --keep --undo
	expect 2 '--group: "a b" is no group' opt-in web1 --group 'a b'
	expect 2 '--max-shared: "much" is no size' opt-in web1 --max-shared much
	expect 2 '--max-shared: 0 is no limit .*none lifts it' opt-in web1 --max-shared 0
	expect 2 '--interval: "0" is not a number from 1' watch --interval 0
	expect 3 "$nowhere" unshare web1 --socket "$nowhere"
	expect 3 "$nowhere" unshare --all --socket "$nowhere"
	expect 2 'name a guest or give --all, not both' unshare web1 --all
	expect 0 'obstacles, ' diagnose --socket "$nowhere"
	expect 0 '"findings"' diagnose --json --socket "$nowhere"
}
[ "$part" = run ] || wrong_uses

# a process id that nobody has
none=4194303
if [ "$part" = run ]; then
	for command in run unshare; do expect 1 "$none" "$command" --pid "$none"; done
else
	expect 1 "$none" inspect --pid "$none"
	trace=$(mktemp -u)
	expect 1 "$none" record --pid "$none" --output "$trace"
	[ -e "$trace" ] && { failed=$((failed + 1)); echo "FAILED: a recording that never began left $trace"; }
fi

# A process without memory that could be a guest's.
sleep 60 &
small=$!
# The child has to be past exec, or it still has the shell's memory.
until [ "$(cat /proc/$small/comm)" = sleep ]; do nap 0.05; done
if [ "$part" = run ]; then
	expect 1 "$small" run -q --pid "$small"
	# A stopped process is refused, and stays stopped.
	kill -STOP "$small"
	expect 1 'stopped' run -q --pid "$small"
	case $(cat /proc/$small/stat) in
	*') T '*) passed=$((passed + 1)) ;;
	*) failed=$((failed + 1)); echo "FAILED: the stopped process was made to go on" ;;
	esac
else
	expect 1 "$small.*(too small|no memory|smaller)" inspect -q --pid "$small"
	# Root without what it takes, and nobody, get to know what it takes.
	said=$(setpriv --bounding-set=-sys_ptrace "$program" inspect -q --pid "$small" 2>&1)
	if [[ $said == *"may not trace process $small though as root: "*CAP_SYS_PTRACE* ]]; then passed=$((passed + 1)); else
		failed=$((failed + 1))
		echo "FAILED: without CAP_SYS_PTRACE it says: $said"
	fi
fi
kill -KILL "$small"
wait "$small" 2>/dev/null

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
