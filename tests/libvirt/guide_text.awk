# SPDX-License-Identifier: Apache-2.0
# The commands of a document in Markdown, one a line: the lines of its code blocks, without their remarks, and what stands between
# backquotes in its text and begins as a command does. With part=file: the code block that is a file (its first line is a
# remark). With part=events: the first cell of each row of the table "What survives what".
function command(text) {
	gsub(/[ \t]+/, " ", text)
	sub(/^ /, "", text)
	sub(/ $/, "", text)
	if (text in seen)
		return
	# Of others' programs the name alone is no command.
	if (text ~ /^(hs-share|hs-shared|hs-lab)( |$)/ ||
	    text ~ /^(\.\/run|apt|apt-get|dpkg|systemctl|journalctl|loginctl|curl|cmake|ctest|sysctl|kill|docker|man|virsh|echo|mount|promtool) /) {
		seen[text]
		if (!part)
			print text
	}
}
/^## / { events = $0 == "## What survives what" }
/^    / {
	if (!block && /^    #/)
		is_file = 1
	block = 1
	if (is_file && part == "file")
		print substr($0, 5)
	if (!is_file) {
		line = substr($0, 5)
		sub(/[ \t]+#.*/, "", line)
		if (line != "" && !part) {
			seen[line]
			print line
		}
	}
	next
}
/^$/ { block = is_file = 0; text = text " "; next }
part == "events" && events && /^\| / && !/^\| event / && !/^\|---/ {
	cell = $0
	sub(/^\| /, "", cell)
	sub(/ \|.*/, "", cell)
	print cell
}
{ text = text " " $0 }
END {
	n = split(text, between, "`")
	for (i = 2; i <= n; i += 2)
		command(between[i])
}
