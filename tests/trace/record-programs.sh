#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Records real programs at work, as guests, into small traces: the test data in tests/data are made by it.
#
#   redis.hst   two redis servers with the same keys; one is read by a zipfian load, with some writes, the other is idle
#   sqlite.hst  two sqlite3 processes on copies of one database, page caches warm; one answers zipfian queries and updates
#   guests.hst  three of the demo's process guests: hot, half-hot (hot bloat) and cold memory, identical pages, zero pages
#
# What they load and ask is made from fixed seeds; when what happens is up to the machine. Their memory is private and
# uses huge pages as a guest's does: by jemalloc's, and by the C library's, own settings. Nothing is merged.
# usage: record-programs.sh [--cycles N] [--check HS_TRACE_CHECK] HS_SHARE HS_GUEST [OUTPUT_DIR]    needs root, redis-server, redis-tools, sqlite3
set -u
cycles=4
check=
if [ "${1-}" = --cycles ]; then cycles=$2; shift 2; fi
if [ "${1-}" = --check ]; then check=$2; shift 2; fi
share=$1 guest=$2 out=${3:-$(dirname "$(readlink -f "$0")")/../data}
dir=$(mktemp -d)
declare -a pids=()

# The loads first, which came last: what they are connected to goes away.
end_all() {
	for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
		kill "${pids[i]}" 2>/dev/null
		wait "${pids[i]}" 2>/dev/null
	done
	pids=()
}
cleanup() {
	end_all
	rm -rf "$dir"
}
trap cleanup EXIT

fail() { echo "record-programs: $1" >&2; exit 1; }
# A rest without a process of its own.
. "$(dirname "$(readlink -f "$0")")/../service/nap.sh"

# record NAME OPTION...: a trace of the processes named by the options
record() {
	local name=$1
	shift
	rm -f "$out/$name.hst"
	timeout 300 "$share" record -q --output "$out/$name.hst" --cycles "$cycles" --interval 300 "$@" || fail "no trace of $name"
	echo "$name.hst: $(stat -c %s "$out/$name.hst") bytes"
	[ -z "$check" ] || "$check" "$out/$name.hst" || fail "$name.hst is not good"
}

for need in redis-server redis-cli sqlite3; do
	command -v "$need" >/dev/null && continue
	echo "SKIPPED record-programs: $need is not installed (Debian packages redis-server redis-tools sqlite3)"
	exit 77
done
mkdir -p "$out"

# ---- redis ----

# 12000 values of 1000 bytes, of which none compresses to another's.
redis_values() {
	awk 'BEGIN {
		for (i = 0; i < 12000; i++) {
			x = i * 7919 % 65521; v = ""
			for (k = 0; k < 40; k++) { x = (x * 16807 + 11) % 2147483647; v = v sprintf("%08x-item-%08d-end", x, x % 9973) }
			printf "SET key:%d %s\r\n", i, v
		}
	}'
}
# Ranks with a probability of 1/rank, each rank a key; one in 50 is written.
redis_zipf() {
	awk -v seed="$1" 'BEGIN {
		srand(seed)
		for (i = 0; i < 400; i++) {
			r = int(exp(rand() * log(12000))) - 1
			key = r * 7 % 12000
			if (rand() < 0.02) printf "APPEND key:%d x\r\n", key; else printf "GET key:%d\r\n", key
		}
	}'
}
start_redis() { # NAME
	MALLOC_CONF=thp:always redis-server --port 0 --unixsocket "$dir/$1.sock" --save '' --appendonly no --disable-thp no \
		--activerehashing no --dir "$dir" --logfile "$dir/$1.log" &
	pids+=($!)
	for ((i = 0; i < 100; i++)); do [ -S "$dir/$1.sock" ] && break; nap 0.1; done
	redis_values | redis-cli -s "$dir/$1.sock" --pipe >"$dir/$1.out" || fail "redis takes no values: $(cat "$dir/$1.out")"
}
redis_load() { # NAME
	local seed
	for ((seed = 1; ; seed++)); do
		redis_zipf "$seed" | redis-cli -s "$dir/$1.sock" --pipe >/dev/null 2>&1 || return
		nap 0.02
	done
}

start_redis a
start_redis b
redis_load a &
pids+=($!)
nap 1
record redis --min-memory 4M --pid "${pids[0]}" --pid "${pids[1]}"
end_all

# ---- sqlite ----

sqlite3 "$dir/a.db" >/dev/null <<'END' || fail 'sqlite3 makes no database'
PRAGMA page_size = 4096;
PRAGMA journal_mode = off;
CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT, note TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40000)
	INSERT INTO item SELECT i, 'item ' || i, printf('%0200d', i * 7919 % 40009) FROM n;
CREATE INDEX by_name ON item(name);
END
cp "$dir/a.db" "$dir/b.db"
# Everything is read once, so that it is in the page cache; then queries by a zipfian load, for ever, or nothing.
sqlite_work() { # LOAD
	echo 'PRAGMA cache_size = 8000; PRAGMA journal_mode = off; PRAGMA synchronous = off;'
	echo 'SELECT sum(length(note)) FROM item; SELECT count(*) FROM item INDEXED BY by_name WHERE name > "";'
	local seed
	for ((seed = 1; ; seed++)); do
		[ "$1" = 0 ] || awk -v seed="$seed" 'BEGIN {
			srand(seed)
			for (i = 0; i < 300; i++) {
				r = int(exp(rand() * log(40000)))
				id = r * 7 % 40000 + 1
				if (rand() < 0.05) printf "UPDATE item SET note = note || \x27.\x27 WHERE id = %d;\n", id
				else printf "SELECT length(note) FROM item WHERE name = \x27item %d\x27;\n", id
			}
		}' || return
		nap 0.02
	done
}
start_sqlite() { # NAME LOAD
	mkfifo "$dir/$1.in"
	GLIBC_TUNABLES=glibc.malloc.hugetlb=1 sqlite3 -pagecache 4400 8000 "$dir/$1.db" <"$dir/$1.in" >/dev/null 2>"$dir/$1.err" &
	pids+=($!)
	sqlite_work "$2" >"$dir/$1.in" &
	pids+=($!)
}
start_sqlite a 1
start_sqlite b 0
nap 3
record sqlite --min-memory 8M --pid "${pids[0]}" --pid "${pids[2]}"
[ ! -s "$dir/a.err" ] || fail "sqlite3 says: $(head -3 "$dir/a.err")"
end_all

# ---- the demo's guests ----

start_guest() { # SEED OPTION...
	mkfifo "$dir/guest$1"
	"$guest" --seed="$1" --huge=16 --rate=200000 "${@:2}" <"$dir/guest$1" >"$dir/guest$1.out" &
	pids+=($!)
	exec {fd}>"$dir/guest$1"
	for ((i = 0; i < 300; i++)); do grep -q ready "$dir/guest$1.out" && break; nap 0.1; done
}
start_guest 1
start_guest 2
start_guest 3 --cold-dup=10
record guests --min-memory 8M --pid "${pids[0]}" --pid "${pids[1]}" --pid "${pids[2]}"
end_all
