#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The port for other hosts, asked by curl, openssl and a real Prometheus: who is served and who is not, what may be asked,
# what is refused at the start, and how keys are exchanged while it runs. The daemon observes, and has no guests.
# usage: tls.sh HS_SHARED HS_SHARE
set -u
shared=$1 share=$2
keeper_option=--read-only # without guests, in mode observe, KSM is not used
prometheus=
. "$(dirname "$(readlink -f "$0")")/../lib.sh"
trap '[ -z "$prometheus" ] || { kill -KILL "$prometheus"; wait "$prometheus"; } 2>/dev/null; cleanup' EXIT

# ---- keys: two CAs, and what they have signed
umask 077
k=$dir/keys
mkdir "$k"
outer=$(ip -j -4 addr show scope global | jq -r '[.[].addr_info[] | select(.local) | .local][0] // empty')
make_ca() { # NAME
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$k/$1.key" -out "$k/$1.pem" -subj "/CN=$1" \
		-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign 2>/dev/null
}
make_cert() { # CA NAME PURPOSE DAYS
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$k/$2.key" -subj "/CN=$2" 2>/dev/null |
		openssl x509 -req -CA "$k/$1.pem" -CAkey "$k/$1.key" -CAcreateserial -days "$4" -out "$k/$2.pem" -extfile <(
			echo "extendedKeyUsage=$3"
			echo "subjectAltName=IP:127.0.0.1,IP:::1${outer:+,IP:$outer}"
		) 2>/dev/null
}
make_token() { openssl rand -hex 32 >"$1"; }
make_ca ca
make_ca other
make_cert ca server serverAuth 30
make_cert ca server2 serverAuth 60
make_cert ca client clientAuth 30
make_cert ca past clientAuth -1
make_cert other stranger clientAuth 30
make_token "$k/token"
install_pair() { # FROM: as the certificate and key that the service has
	cp "$k/$1.pem" "$k/own.pem.new" && cp "$k/$1.key" "$k/own.key.new" && mv "$k/own.pem.new" "$k/own.pem" && mv "$k/own.key.new" "$k/own.key"
}
install_pair server
cp "$k/ca.pem" "$k/clients.pem"

free_port() {
	local p
	while p=$((20000 + RANDOM % 30000)) && (: <"/dev/tcp/127.0.0.1/$p") 2>/dev/null; do :; done
	echo "$p"
}
port=$(free_port)
write_conf() { # ADDRESS LINE...
	{
		conf_service observe keep
		printf '[tls]\naddress = %s\nport = %s\ncertificate = %s\nkey = %s\n' "$1" "$port" "$k/own.pem" "$k/own.key"
		shift
		printf '%s\n' "$@"
	} >"$dir/conf"
}

# asked CURL_OPTION... URL_PATH: the status; 000: no answer. The address is $to.
to=127.0.0.1
asked() {
	local host=$to
	[[ $to != *:* ]] || host="[$to]"
	curl -s -m 20 -o "$dir/answer" -w '%{http_code}' --cacert "$k/ca.pem" "${@:1:$#-1}" "https://$host:$port${*: -1}"
}
bearer() { echo "Authorization: Bearer $(cat "$k/token")"; }
with_token() { asked -H "$(bearer)" "$@"; }
with_cert() { asked --cert "$k/$1.pem" --key "$k/$1.key" "${@:2}"; }
serial() { openssl s_client -connect "127.0.0.1:$port" </dev/null 2>/dev/null | openssl x509 -noout -serial; }
metric() { request http://x/metrics | sed -n "s/^$1 //p"; }

# ---- refused at the start, with the file and the way out (test_tls.c has the rest)
write_conf 0.0.0.0 "client_ca = $k/clients.pem" "token_file = $k/token"
refuses() { # TEXT: it does not start, and says so
	local said
	said=$(timeout 20 "$shared" -c "$dir/conf" 2>&1)
	[ $? = 1 ] && [[ $said == *"$1"* ]] || { echo "$said"; return 1; }
}
spoilt() { # WHAT TEXT COMMAND FILE: the file is spoilt by the command for a moment
	cp -a "$k/$4" "$k/kept"
	eval "$3"
	ok "$1" "refuses '$2'"
	rm -rf "${k:?}/$4"
	mv "$k/kept" "$k/$4"
}
spoilt 'a key that others may read' 'chmod 600' 'chmod 640 "$k/own.key"' own.key
spoilt 'a token that can be guessed' 'openssl rand' 'echo secret >"$k/token"' token

chmod 640 "$k/own.key"
ok 'a check of the configuration says so, too' '"$shared" -c "$dir/conf" --check-config 2>&1 >/dev/null | grep -q "chmod 600"'
chmod 600 "$k/own.key"
ok 'and else agrees' '"$shared" -c "$dir/conf" --check-config >/dev/null'

# ---- a token
write_conf 0.0.0.0 "token_file = $k/token"
ok 'it starts' start_daemon
ok 'without token' '[ "$(asked /metrics)" = 401 ]'
ok 'which says what is asked for' 'asked -D "$dir/headers" /metrics >/dev/null; grep -qi "^WWW-Authenticate: Bearer" "$dir/headers"'
nearly=$(sed 's/.$/X/' "$k/token")
ok 'nearly the token' '[ "$(asked -H "Authorization: Bearer $nearly" /metrics)" = 401 ]'
ok 'the begin of it' '[ "$(asked -H "Authorization: Bearer ${nearly%?}" /metrics)" = 401 ]'
ok 'another scheme' '[ "$(asked -u "x:$(cat "$k/token")" /metrics)" = 401 ]'
ok 'the token' '[ "$(with_token /metrics)" = 200 ] && grep -q "^hs_share_build_info" "$dir/answer"'
ok 'all that reads' '[ "$(with_token /v1/status)" = 200 ] && [ "$(with_token /v1/guests)" = 200 ]'
ok 'nothing that changes' '[ "$(with_token -X PUT -d "{\"mode\":\"off\"}" -H "Content-Type: application/json" /v1/mode)" = 403 ] && [ "$(with_token -X POST /v1/reload)" = 403 ]'
ok 'nor without token' '[ "$(asked -X POST /v1/reload)" = 401 ]'
ok 'nor a page in a browser' '[ "$(with_token -H "Origin: https://example.com" /v1/status)" = 403 ]'
ok 'refused ones are counted' '[ "$(metric hs_share_unauthorized_requests_total)" = 6 ]'
ok 'the end of the certificate' '[ "$(metric hs_share_certificate_expiry_timestamp_seconds)" = "$(date -d "$(openssl x509 -in "$k/own.pem" -noout -enddate | sed s/.*=//)" +%s)" ]'
ok 'TLS 1.3' '[ "$(with_token --tlsv1.3 /metrics)" = 200 ]'
ok 'TLS 1.2' '[ "$(with_token --tls-max 1.2 /metrics)" = 200 ]'
cipher() { openssl s_client "$@" -connect "127.0.0.1:$port" </dev/null 2>/dev/null | sed -n 's/^New, .*Cipher is //p'; }
ok 'what is asked for is agreed on' '[ "$(cipher -tls1_2 -cipher ECDHE-ECDSA-AES256-GCM-SHA384)" = ECDHE-ECDSA-AES256-GCM-SHA384 ]'
for old in '-tls1_1 -cipher DEFAULT@SECLEVEL=0' '-tls1 -cipher DEFAULT@SECLEVEL=0' '-tls1_2 -cipher kRSA' '-tls1_2 -cipher ECDHE-ECDSA-AES256-SHA'; do
	ok "but not $old" "[ \"\$(cipher $old)\" = '(NONE)' ]"
done
ok 'without TLS: not' '! curl -s -m 20 -H "$(bearer)" "http://127.0.0.1:$port/metrics" >/dev/null'
if [ -n "$outer" ]; then
	to=$outer
	ok "by another address than the loopback's, $outer" '[ "$(with_token /metrics)" = 200 ]'
	to=127.0.0.1
else
	echo 'SKIPPED service_tls address: this machine has none but the loopback'"'"'s'
fi

# Connections of one host that say nothing leave room for others.
silent=()
for ((i = 0; i < 20; i++)); do exec {fd}<>"/dev/tcp/127.0.0.1/$port" && silent+=("$fd"); done
ok 'another host is served beside one that takes all it may' '[ "$(with_token --interface 127.0.0.2 /metrics)" = 200 ]'
for fd in "${silent[@]}"; do exec {fd}>&-; done

# ---- exchanged while it runs
ok 'nothing new: so it says' '[[ $(hs reload) == *"nothing changed"* ]]'
before=$(serial)
install_pair server2
ok 'SIGHUP reads the certificate again' 'kill -HUP "$daemon"; until_true 20 "[ \"\$(serial)\" != \"$before\" ]"'
ok 'it is the new one' '[ "$(serial)" = "$(openssl x509 -in "$k/server2.pem" -noout -serial)" ]'
old_token=$(bearer)
make_token "$k/token"
ok 'a reload says that something was read' '[[ $(hs reload) == *"read again"* ]]'
ok 'the token of before counts no more' '[ "$(asked -H "$old_token" /metrics)" = 401 ] && [ "$(with_token /metrics)" = 200 ]'
chmod 644 "$k/own.key"
ok 'a file that is refused: a reload says so' 'hs reload 2>&1 | grep -q "chmod 600"'
ok 'and all goes on as it was' '[ "$(with_token /metrics)" = 200 ]'
sed -i 's/^token_file = .*/&.new/' "$dir/conf"
ok 'where the configuration names another file it is for a restart' '[[ $(hs reload) == *"token.new (after a restart)"* ]]'
sed -i 's/^\(token_file = .*\)\.new/\1/' "$dir/conf"
chmod 600 "$k/own.key"
# A connection that stays open does not outlast what it began with: each line that it says is a request.
exec {fd}> >(openssl s_client -quiet -connect "127.0.0.1:$port" >"$dir/kept" 2>/dev/null)
ask_kept() { printf 'GET /v1/mode HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n' "$old_token" >&"$fd"; }
old_token=$(bearer)
ask_kept
ok 'a connection is kept' 'until_true 20 "grep -q \"HTTP/1.1 200\" \"$dir/kept\""'
s_client=$!
install_pair server
ok 'and closed when the certificate is another' 'hs reload >/dev/null && until_true 5 "has_ended $s_client"'
exec {fd}>&-
ok 'SIGTERM ends it in order' stop_daemon

# ---- a certificate, and all may be asked
write_conf :: "client_ca = $k/clients.pem" 'allow = change'
ok 'it starts with client_ca' start_daemon
ok 'without a certificate' '[ "$(asked /metrics)" = 000 ]'
ok 'in TLS 1.2, too' '[ "$(asked --tls-max 1.2 /metrics)" = 000 ]'
for who in stranger past server; do
	ok "with that of $who" "[ \"\$(with_cert $who /metrics)\" = 000 ]"
done
ok 'with the right one' '[ "$(with_cert client /metrics)" = 200 ] && [ "$(with_cert client --tls-max 1.2 /metrics)" = 200 ]'
to=::1
ok 'over IPv6' '[ "$(with_cert client /metrics)" = 200 ]'
to=127.0.0.1
ok 'changes as well' '[ "$(with_cert client -X PUT -d "{\"mode\":\"off\"}" -H "Content-Type: application/json" /v1/mode)" = 200 ] && [ "$(request http://x/v1/mode | jq -r .mode)" = off ]'
ok 'but for a page in a browser' '[ "$(with_cert client -X POST -H "Origin: https://example.com" /v1/unshare)" = 403 ]'
cp "$k/other.pem" "$k/clients.pem"
ok 'another CA' 'hs reload >/dev/null && [ "$(with_cert client /metrics)" = 000 ] && [ "$(with_cert stranger /metrics)" = 200 ]'
cp "$k/ca.pem" "$k/clients.pem"
ok 'SIGTERM ends it in order' stop_daemon

# ---- both, and /metrics alone
write_conf 127.0.0.1 "client_ca = $k/clients.pem" "token_file = $k/token" 'allow = metrics'
ok 'it starts with both' start_daemon
ok 'a certificate alone' '[ "$(with_cert client /metrics)" = 401 ]'
ok 'a token alone' '[ "$(with_token /metrics)" = 000 ]'
ok 'both' '[ "$(with_cert client -H "$(bearer)" /metrics)" = 200 ]'
for path in /v1/status /v1/guests /v1/diagnose /nothing; do
	ok "not $path" "[ \"\$(with_cert client -H \"\$(bearer)\" $path)\" = 403 ]"
done
if command -v prometheus >/dev/null; then
	prometheus_port=$(free_port)
	cat >"$dir/prometheus.yml" <<-END
		global: { scrape_interval: 1s, scrape_timeout: 1s }
		scrape_configs:
		  - job_name: hs-share
		    scheme: https
		    authorization: { credentials_file: $k/token }
		    tls_config: { ca_file: $k/ca.pem, cert_file: $k/client.pem, key_file: $k/client.key }
		    static_configs: [ { targets: [ "127.0.0.1:$port" ] } ]
	END
	prometheus --config.file="$dir/prometheus.yml" --storage.tsdb.path="$dir/prometheus" \
		--web.listen-address="127.0.0.1:$prometheus_port" --log.level=warn >"$dir/prometheus.log" 2>&1 &
	prometheus=$!
	stored() { curl -s -m 10 -G "http://127.0.0.1:$prometheus_port/api/v1/query" --data-urlencode "query=$1" | jq -r '.data.result[0].value[1] // empty'; }
	ok 'Prometheus scrapes it' 'until_true 60 "[ \"\$(stored up)\" = 1 ]" || { tail -5 "$dir/prometheus.log"; false; }'
	kill -TERM "$prometheus"
	wait "$prometheus"
	prometheus=
else
	echo 'SKIPPED service_tls prometheus: it is not installed (Debian package prometheus)'
fi
ok 'SIGTERM ends it in order' stop_daemon
finish
