# SPDX-License-Identifier: Apache-2.0
# After table.awk. Second file: the manifest that CMake writes, "library|program|interface TARGET FOLDER", "links TARGET LINKED...";
# third: what nm says, "D TARGET SYMBOL" for what is defined and "U TARGET SYMBOL" for what is called.
nr_file == 2 && $1 == "links" {
	for (i = 3; i <= NF; i++)
		if ($i ~ /^hs_/)
			links[$2, $i] = 1
	next
}

nr_file == 2 {
	folder_of[$2] = $3
	is_program[$2] = $1 == "program"
	if ($2 in target_folder ? target_folder[$2] != $3 : 1)
		complain("the target " $2 " of " $3 "/ is not in the table of folders")
	next
}

$1 == "D" && !is_program[$2] { defined_by[$3] = $2 }

$1 == "U" { called[$2, $3] = 1 }

END {
	for (i = 1; i <= nr_folders; i++)
		if (folder[i] != "include/hs" && folder_of[target_of[folder[i]]] != folder[i])
			complain(folder[i] "/ has no target " target_of[folder[i]])
	close_links()
	for (key in called) {
		split(key, call, SUBSEP)
		from = call[1]
		if (!(call[2] in defined_by))
			continue
		to = defined_by[call[2]]
		if (to == from)
			continue
		nr_calls++
		if (!allowed(from, to))
			complain(folder_of[from] " (" from ") calls " call[2] " of " folder_of[to] ", which it may not know")
		else if (!((from, to) in links))
			complain(from " calls " call[2] " of " to ", and does not link it in CMake")
	}
	for (key in direct) {
		split(key, link, SUBSEP)
		if (link[2] in folder_of && !allowed(link[1], link[2]))
			complain(link[1] " links " link[2] " in CMake, but may not know " folder_of[link[2]])
	}
	if (!nr_calls)
		complain("there is not one call from folder to folder: the libraries are not built?")
	if (!bad)
		print nr_calls " calls from folder to folder agree with the table of folders"
	exit bad
}

function allowed(from, to)
{
	return folder_of[to] == folder_of[from] || (folder_of[from], folder_of[to]) in knows || is_program[from] && (from, folder_of[to]) in program_knows
}

# links: also what is linked through others; direct: as it stands in CMake.
function close_links(key, more, t, u, parts)
{
	for (key in links)
		direct[key] = 1
	do {
		more = 0
		for (key in links) {
			split(key, parts, SUBSEP)
			for (u in folder_of)
				if (((parts[2], u) in links) && !((parts[1], u) in links)) {
					add[parts[1], u] = 1
					more = 1
				}
		}
		for (key in add)
			links[key] = 1
	} while (more)
}
