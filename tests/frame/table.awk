# SPDX-License-Identifier: Apache-2.0
# Reads folders.txt, the first file that awk is given, and holds the table against itself. The others come after it.
FNR == 1 { nr_file++ }
/^#/ && nr_file == 1 || NF == 0 { next }
nr_file == 1 {
	if ($1 == "folder") {
		if ($2 in how)
			complain($2 " has two rows")
		if ($4 !~ /^(hs|path|-)$/)
			complain($2 ": \"" $4 "\" is no way to be known")
		folder[++nr_folders] = $2
		target_folder[$3] = $2
		target_of[$2] = $3
		how[$2] = $4
		for (i = 5; i <= NF; i++) {
			if (!($i in how) || $i == $2)
				complain($2 " may not know " $i ", which does not stand above it")
			else if (how[$i] == "-")
				complain($2 " may not know " $i ", which nobody may")
			knows[$2, $i] = 1
		}
	} else if ($1 == "program") {
		target_folder[$2] = $3
		for (i = 4; i <= NF; i++)
			program_knows[$2, $i] = 1
	} else if ($1 == "contract") {
		owner_of[$2] = $3
	} else if ($1 == "prefix") {
		for (i = 3; i <= NF; i++)
			prefix_of[$2, $i] = 1
		prefix[$2] = 1
	} else if ($1 != "unclean") {
		complain("a row of an unknown kind: " $0)
	}
	next
}


function complain(text)
{
	print text > "/dev/stderr"
	bad = 1
}

# Who owns the contract include/hs/HEADER.
function owner(header)
{
	return header in owner_of ? owner_of[header] : "include/hs"
}

# Whose file it is: a contract's is its owner's.
function whose(file, f)
{
	f = file
	if (f ~ /^include\/hs\//)
		return owner(substr(f, length("include/hs/") + 1))
	return dir(f)
}

function dir(file)
{
	return file ~ /\// ? substr(file, 1, match(file, /\/[^\/]*$/) - 1) : "."
}
