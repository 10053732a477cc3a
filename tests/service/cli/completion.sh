#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The completion as bash, zsh and fish run it: what is offered for a line, as words. usage: completion.sh SHELL PROGRAM COMPLETION
set -u
shell=$1
command -v "$shell" >/dev/null || { echo "SKIPPED completion: $shell is not installed (Debian package $shell)"; exit 77; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
ln -s "$2" "$dir/hs-share"
ln -s "$3" "$dir/_hs-share"
export PATH=$dir:$PATH HOME=$dir

# Each line, and all that has to be offered at its end.
cases=(
	'hs-share opt' 'opt-in opt-out'
	'hs-share insp' 'inspect'
	'hs-share mode s' 'save'
	'hs-share mode ' 'auto observe off save'
	'hs-share opt-in --gr' '--group'
	'hs-share opt-in --share ' 'group guest zero'
	'hs-share watch --co' '--count'
	'hs-share run --du' '--duration'
	'hs-share run --sh' '--share'
	'hs-share record --share g' 'group guest'
	'hs-share guests --columns GR' 'GROUP'
	'hs-share run --columns PID,COLD' 'PID,COLD PID,COLD-IDENT'
	'hs-share history --noh' '--noheadings'
	'hs-share show nobody' ''
)

# Each prints a line of words for each line that it reads.
offer_bash() {
	local line
	. "$dir/_hs-share"
	while IFS= read -r line; do
		COMP_WORDS=($line) COMPREPLY=()
		[ "${line% }" = "$line" ] || COMP_WORDS+=('')
		COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
		_hs_share
		echo "${COMPREPLY[*]}"
	done
}
offer_fish() {
	fish --no-config -c '
		source $argv[1]
		while read -l line
			echo (complete -C $line | string replace -r "\t.*" "")
		end' "$dir/_hs-share"
}
# zsh completes on a terminal alone. The key behind the one that lists says that all has been listed.
offer_zsh() {
	cat >"$dir/.zshrc" <<-'RC'
		COLUMNS=250 LINES=250 PS1=
		fpath=($HOME $fpath)
		autoload -Uz compinit
		compinit -u -D
		zstyle ':completion:*' verbose no
		listed() { print; print LISTED }
		zle -N listed
		bindkey '^I' list-choices
		bindkey '^X' listed
		bindkey '^U' kill-whole-line
		zle-line-init() { print READY }
		zle -N zle-line-init
	RC
	ZDOTDIR=$dir TERM=dumb zsh -f -c '
		zmodload zsh/zpty
		zpty z zsh -d -i
		zpty -r z seen "*READY*"
		while IFS= read -r line; do
			zpty -n -w z $'"'\\025'"'"$line"$'"'\\t\\030'"'
			zpty -r z seen "*LISTED*"
			print -r -- "$seen" | tr -d "\r" | sed "s/\x1b[^a-zA-Z]*[a-zA-Z]//g" | grep -vF -e "${line% }" -e LISTED | xargs
		done'
}

passed=0 failed=0 i=0
lines=() wanted=()
for ((i = 0; i < ${#cases[@]}; i += 2)); do lines+=("${cases[i]}") wanted+=("${cases[i + 1]}"); done
mapfile -t offered < <(printf '%s\n' "${lines[@]}" | "offer_$shell")
for i in "${!lines[@]}"; do
	have=$(xargs -n1 <<<"${offered[i]-none}" | sort | xargs)
	if [ "$have" = "${wanted[i]}" ]; then passed=$((passed + 1)); else
		failed=$((failed + 1))
		echo "FAILED: ${lines[i]}: $shell offers \"$have\", wanted \"${wanted[i]}\""
	fi
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
