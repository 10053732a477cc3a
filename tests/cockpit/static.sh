#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What can be said of the page without a browser: it is whole, Cockpit's content policy does not refuse it, it asks for nothing that
# the API does not have, its words for figures are right, and uPlot is the release that is named.
# usage: static.sh SOURCE_DIR OPENAPI_AS_JSON_PROGRAM
set -u
source=$(readlink -f "$1") yaml_json=$2
page=$source/cockpit
HS_KSM_KEPT=untouched # nothing runs
. "$source/tests/service/lib.sh"
for program in node jq; do command -v $program >/dev/null || { echo "SKIPPED cockpit static: no $program"; exit 77; }; done

ok 'the manifest has an entry in the menu' 'jq -e ".menu.index.label and .requires.cockpit" "$page/manifest.json" >/dev/null'

# ---- Cockpit's content policy: default-src self
ok 'no script and no style within the page' '! grep -nE "<script>|<script [^>]*>[^<]|<style|[[:space:]]style=|[[:space:]]on[a-z]+=|javascript:" "$page/index.html"'
ok 'nothing from elsewhere' '! grep -nE "(src|href)=\"(https?:)?//|@import|url\(" "$page/index.html" "$page/hs-share.css"'
ok 'no markup and no code is made of text' '! grep -nE "innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setAttribute\(\"style\"" "$page"/*.js'
for file in $(sed -nE 's/.*(src|href)="([^".][^"]*)".*/\2/p' "$page/index.html"); do ok "$file is there" '[ -s "$page/$file" ]'; done
checked() { node --no-warnings --experimental-vm-modules "$dir/js/static.mjs" "$@"; }
mkdir "$dir/js"
cp -r "$page"/. "$source"/tests/cockpit/*.mjs "$dir/js/"
echo '{ "type": "module" }' >"$dir/js/package.json"
ok 'each script can be read' 'checked syntax "$dir"/js/*.js "$dir"/js/*.mjs'
ok 'each import is there' '(cd "$page" && for f in $(sed -nE "s,^(import|export) .*\"\./([^\"]+)\".*,\2,p" *.js); do [ -s "$f" ] || { echo "$f"; exit 1; }; done)'

# ---- what it asks for is in the API's description
"$yaml_json" "$source/docs/openapi.yaml" >"$dir/openapi.json"
asked=$(sed -nE 's/.*request\("([A-Z]+)", [`"]([^`"]+)[`"].*/\1 \2/p' "$page/api.js" | sed 's/\${[^}]*}/{id}/' | sort -u)
ok 'requests are found' '[ "$(wc -l <<<"$asked")" -gt 10 ]'
described=$(jq -r '.paths | to_entries[] | .key as $p | .value | keys[] | ascii_upcase + " " + $p' "$dir/openapi.json" | sort)
ok 'each is described' '[ -z "$(comm -23 <(echo "$asked") <(echo "$described"))" ] || { comm -23 <(echo "$asked") <(echo "$described"); false; }'
ok 'modes, scopes and states are those of the API' 'checked api "$dir/openapi.json"'
ok 'figures and words' 'checked words'

# ---- uPlot as it was published: a changed file is another one
ok 'uPlot is the version of the tests' 'grep -q "(v$(jq -r .dependencies.uplot "$source/tests/cockpit/package.json"))" "$page/uplot/uPlot.esm.js"'
ok 'and unchanged' '(cd "$page" && sha256sum -c --quiet --strict "$source/tests/cockpit/uplot.sha256")'
finish
