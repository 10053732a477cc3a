# SPDX-License-Identifier: Apache-2.0
# Holds docs/openapi.yaml against a daemon that runs; sourced by endpoint.sh, which has ok(), request(), $dir and $sock.
# What is described is asked for, what is answered has to be described, and the other way round.

api_doc=$dir/openapi.json
api_jq() { jq -L "$here" --slurpfile doc "$api_doc" "include \"openapi\"; \$doc[0] as \$doc | $1" "${@:2}"; }

# openapi_answer METHOD PATH STATUS FILE: the keys of one answer, each with its type, are the ones that are described
openapi_answer() {
	local method=$1 path=$2 status=$3 file=$4 name
	name="$dir/api-$method-${path//[^a-z]/_}-$status"
	api_jq "schema(\$doc; \"$path\"; \"$method\"; \"$status\") | described(\$doc; \"\")" -nr | sort -u >"$name.described"
	api_jq "[schema(\$doc; \"$path\"; \"$method\"; \"$status\") | maps(\$doc; \"\")] as \$maps | input | answered(\$maps; \"\")" \
		-nr "$file" | sort -u >"$name.answered"
	[ -s "$name.described" ] && diff "$name.described" "$name.answered" |
		sed -n "s/^</described, not answered: /p; s/^>/answered, not described: /p" | tee "$name.diff"
	[ -s "$name.described" ] && [ ! -s "$name.diff" ]
}

# openapi_ask METHOD PATH BODY: asks, and holds the answer against the description. $openapi_guest stands for {id}.
openapi_ask() {
	local method=$1 path=$2 body=$3 status file=$dir/answer.json
	status=$(status_of_to "$file" -X "${method^^}" -H 'Content-Type: application/json' ${body:+-d "$body"} \
		"http://x${path//\{id\}/$openapi_guest}")
	api_jq "\$doc.paths[\"$path\"][\"$method\"].responses | has(\"$status\")" -n | grep -qx true || {
		echo "$method $path answered $status, which is not described"
		return 1
	}
	[[ $path == /metrics* && $status = 200 ]] || openapi_answer "$method" "$path" "$status" "$file"
}

openapi_described() { api_jq '$doc.paths | to_entries[] | .key as $p | .value | keys[] | select(. != "parameters") | . + " " + $p' -nr | sort; }

# The routes that the daemon has, from its table, in the description's words.
openapi_routes() {
	sed -n 's|^\t{ "\(/[^"]*\)", "\([A-Z]*\)", .*|\2 \1|p' "$source/service/endpoint/api.c" |
		while read -r method path; do echo "${method,,} ${path//\*/\{id\}}"; done | sort
}

# What a path takes, as it says itself when it is asked with another method.
openapi_allowed() {
	curl -s -m 20 -o /dev/null -D - --unix-socket "$sock" -X PATCH "http://x${1//\{id\}/$openapi_guest}" |
		sed -n 's/^Allow: \(.*\)\r$/\L\1/p' | tr -d ',' | xargs -n1 | sort | xargs
}

openapi_check() { # GUEST
	local line path
	openapi_guest=$1
	"$yaml_json" "$source/docs/openapi.yaml" >"$api_doc"
	ok 'the description is one' '[ "$(openapi_described | wc -l)" -gt 10 ]'
	ok 'each route is described, and each description has a route' 'diff <(openapi_described) <(openapi_routes)'
	while read -r path; do
		ok "methods of $path" "[ \"\$(openapi_allowed '$path')\" = \"\$(openapi_described | awk -v p='$path' '\$2 == p { print \$1 }' | xargs)\" ]"
	done < <(openapi_described | awk '{ print $2 }' | sort -u)
	# A look has a report when it has ended, for which it needs a guest.
	ok 'as described: look' 'openapi_ask post /v1/report/look ""'
	ok 'the look ends' 'until_true 120 "request http://x/v1/report/look | jq -e \".state == \\\"done\\\"\" >/dev/null"'
	# History needs its first point, and a guest its first report.
	while read -r line; do
		ok "as described: $line" "openapi_ask $line ''"
	done < <(openapi_described | grep '^get')
	ok 'as described: mode' "openapi_ask put /v1/mode '{\"mode\":\"observe\"}'"
	ok 'as described: opt-in' "openapi_ask put '/v1/guests/{id}/opt-in' '{\"group\":\"web\"}'"
	ok 'as described: reload' 'openapi_ask post /v1/reload ""'
	ok 'as described: unshare' 'openapi_ask post /v1/unshare ""'
	ok 'as described: unshare one' "openapi_ask post '/v1/guests/{id}/unshare' ''"
	ok 'as described: wrong modes' "openapi_ask put /v1/mode '{\"mode\":\"sometimes\"}'"
	ok 'as described: wrong groups' "openapi_ask put '/v1/guests/{id}/opt-in' '{\"group\":\"a b\"}'"
	ok 'as described: opt-out' "openapi_ask delete '/v1/guests/{id}/opt-in' ''"
	openapi_guest=nobody
	while read -r line; do
		ok "as described, no such guest: $line" "openapi_ask $line ''"
	done < <(openapi_described | grep '{id}')
}
