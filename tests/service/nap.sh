# SPDX-License-Identifier: Apache-2.0
# nap SECONDS: a sleep without a process, for scripts to source.
# One pipe that nobody writes to, for all of them: bash keeps the number of each process that it made for one, and when a
# later command gets that number again, it can wait for that command for ever.
nap() {
	[ -n "${never-}" ] || exec {never}<> <(:)
	read -rt "$1" -u "$never" || :
}
