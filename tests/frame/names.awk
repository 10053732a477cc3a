# SPDX-License-Identifier: Apache-2.0
# After table.awk. The further files are headers: the functions, tags, typedefs, macros and enumerators that they declare at file level.
# A name's prefix is its first word (hs_view_, HS_VIEW_), or the longest row of the table that it begins with; it may belong to one folder.
FNR == 1 {
	depth = in_enum = in_comment = continued = 0
	me = whose(FILENAME)
}

{
	line = without_comments($0)
	if (continued || line ~ /^[ \t]*#/) {
		if (!continued && match(line, /^[ \t]*#[ \t]*define[ \t]+HS_[A-Z0-9_]+/)) {
			name = substr(line, RSTART, RLENGTH)
			sub(/^[ \t]*#[ \t]*define[ \t]+/, "", name)
			if (name !~ /_H$/)
				declared(name)
		}
		continued = line ~ /\\$/
		next
	}
	while (match(line, /[{}]|enum[ ]+[a-z0-9_ ]*[{]|(struct|union)[ ]+hs_[a-z0-9_]+[ ]*[{]|hs_[a-z0-9_]+[ ]*\(|HS_[A-Z0-9_]+|^typedef[^;]*;/)) {
		token = substr(line, RSTART, RLENGTH)
		line = substr(line, RSTART + RLENGTH)
		if (token == "{")
			depth++
		else if (token == "}") {
			depth--
			in_enum = 0
		} else if (token ~ /^typedef/) {
			if (match(token, /hs_[a-z0-9_]+(\(| *;|\[)/))
				declared(substr(token, RSTART, RLENGTH))
		} else if (token ~ /[{]$/) {
			if (depth == 0 && match(token, /hs_[a-z0-9_]+/))
				declared(substr(token, RSTART, RLENGTH))
			in_enum = token ~ /^enum/
			depth++
		} else if (token ~ /\($/) {
			if (depth == 0)
				declared(token)
		} else if (in_enum && depth == 1 && line ~ /^[ \t]*([=,}]|$)/)
			declared(token)
	}
}

END {
	for (name in where) {
		p = prefix_for(name)
		nr_names++
		split(where[name], at, " ")
		if (p in prefix && !((p, at[2]) in prefix_of))
			complain(name " in " at[1] " has the prefix " p " of another folder")
		else if (!(p in prefix)) {
			if (!(p in first))
				first[p] = at[2] " " name " in " at[1]
			else if (substr(first[p], 1, index(first[p], " ") - 1) != at[2] && !(p in twice))
				twice[p] = substr(first[p], index(first[p], " ") + 1) ", " name " in " at[1]
		}
	}
	for (p in twice)
		complain("the prefix " p " belongs to two folders: " twice[p])
	if (!bad)
		print nr_names " names in headers: each prefix belongs to one folder"
	exit bad
}

function without_comments(text, out, i, j)
{
	out = ""
	while (text != "") {
		if (in_comment) {
			i = index(text, "*/")
			if (!i)
				return out
			text = substr(text, i + 2)
			in_comment = 0
			continue
		}
		i = index(text, "/*")
		j = index(text, "//")
		if (j && (!i || j < i))
			return out substr(text, 1, j - 1)
		if (!i)
			return out text
		out = out substr(text, 1, i - 1)
		text = substr(text, i + 2)
		in_comment = 1
	}
	return out
}

function declared(name)
{
	gsub(/[^A-Za-z0-9_]/, "", name)
	where[name] = FILENAME " " me
}

# In small letters, so that functions and macros of one word have one prefix.
function prefix_for(name, n, words, p, best, i)
{
	name = tolower(name) "_"
	n = split(name, words, "_")
	p = words[1] "_"
	best = p words[2] "_"
	for (i = 2; i < n; i++) {
		p = p words[i] "_"
		if (p in prefix)
			best = p
	}
	return best
}
