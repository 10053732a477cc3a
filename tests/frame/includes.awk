# After table.awk. Second file: the tree's C files outside tests/, one a line, then its BPF programs; third: "file included" of each
# quoted include.
nr_file == 2 {
	exists[$1] = 1
	if ($1 !~ /^tests\//)
		has_files[dir($1)] = 1
	next
}

{ include($1, $2, dir($1)) }

END {
	for (f in has_files)
		if (!(f in how))
			complain(f "/ is not in the table of folders")
	for (f in how)
		if (!(f in has_files))
			complain("the table of folders has " f ", where no C file is")
	for (h in owner_of)
		if (!(("include/hs/" h) in exists))
			complain("the table of folders has the contract " h ", which does not exist")
	if (!bad)
		print nr_includes " include lines in " nr_folders " folders agree with the table of folders"
	exit bad
}

function include(file, inc, folder, me, to, f, found)
{
	nr_includes++
	me = whose(file)
	if (folder == "include/hs" && inc !~ /^hs\//)
		complain(file " includes \"" inc "\": contracts include contracts only, as \"hs/...\"")
	else if (inc ~ /^hs\//) {
		to = owner(substr(inc, 4))
		if (!(("include/" inc) in exists))
			complain(file " includes \"" inc "\", which is no contract in include/hs")
		else if (to != "include/hs" && to != me && !((me, to) in knows))
			complain(file " includes \"" inc "\", but " me " may not know " to)
	} else if (inc ~ /\.skel\.h$/) { # the build makes it of a program in a folder that it knows
		for (f in how)
			if (((me, f) in knows) && ((f "/" substr(inc, 1, length(inc) - 7) ".bpf.c") in exists))
				found = 1
		if (!found)
			complain(file " includes \"" inc "\", made of a program that no folder known to " me " has")
	} else if (inc ~ /\//) {
		to = dir(inc)
		if (!(inc in exists))
			complain(file " includes \"" inc "\", which does not exist")
		else if (to == me)
			complain(file " includes \"" inc "\": a file of the own folder is included by its name alone")
		else if (!((me, to) in knows))
			complain(file " includes \"" inc "\", but " me " may not know " to)
		else if (to in how && how[to] != "path") # a look at how[] by itself would make a row of it
			complain(file " includes \"" inc "\": " to " is known by its contracts in include/hs alone")
		else if (inc ~ /_internal\.h$/)
			complain(file " includes \"" inc "\", which is private to " to)
	} else if (!((folder "/" inc) in exists))
		complain(file " includes \"" inc "\", which is not in " folder "/")
}
