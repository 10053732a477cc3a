# SPDX-License-Identifier: Apache-2.0
# Takes the description (docs/openapi.yaml as JSON) and answers apart into lines "METHOD PATH STATUS key.path[]:type", so
# that two lists can be compared.

def deref($doc): if type == "object" and has("$ref") then . as $r | ($doc | getpath($r["$ref"] | ltrimstr("#/") | split("/"))) | deref($doc) else . end;

def kind: if . == "integer" then "number" else . end;

# A schema's keys; "*" stands for any key of a map.
def described($doc; $at):
	deref($doc)
	| if has("allOf") then .allOf[] | described($doc; $at)
	  elif .type == "object" then
		(.properties // {} | to_entries[] | .key as $k | .value | described($doc; $at + "." + $k)),
		(.additionalProperties | select(type == "object") | described($doc; $at + ".*"))
	  elif .type == "array" then .items | described($doc; $at + "[]")
	  else $at + ":" + (.type | kind) end;

# An answer's keys; $maps: where keys are data ("" . "groups" -> "groups.*").
def answered($maps; $at):
	if type == "object" then to_entries[] | .key as $k | .value
		| answered($maps; if ($maps | index($at)) then $at + ".*" else $at + "." + $k end)
	elif type == "array" then .[] | answered($maps; $at + "[]")
	else $at + ":" + type end;

def maps($doc; $at):
	deref($doc)
	| if has("allOf") then .allOf[] | maps($doc; $at)
	  elif .type == "object" then
		(if .additionalProperties | type == "object" then $at else empty end),
		(.properties // {} | to_entries[] | .key as $k | .value | maps($doc; $at + "." + $k))
	  elif .type == "array" then .items | maps($doc; $at + "[]")
	  else empty end;

def schema($doc; $path; $method; $status):
	$doc.paths[$path][$method].responses[$status] | deref($doc) | .content["application/json"].schema // empty;
