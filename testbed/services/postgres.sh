#!/bin/sh
# PostgreSQL as a managed database gives it: TLS only, one user that owns one database.
set -eu

data=/var/lib/postgresql/data
PATH=$(echo /usr/lib/postgresql/*/bin):$PATH
as_postgres() { setpriv --reuid postgres --regid postgres --init-groups "$@"; }

install -d -o postgres -g postgres -m 0700 "$data" /run/tls
install -d -o postgres -g postgres -m 0755 /var/run/postgresql
install -o postgres -g postgres -m 0600 /etc/testbed-tls/server.key /etc/testbed-tls/server.crt /run/tls
# A killed initialisation leaves half a cluster; the mark is written last.
if [ ! -f "$data/.initialised" ]; then
    find "$data" -mindepth 1 -delete
    as_postgres initdb --pgdata "$data" --auth-local peer --auth-host scram-sha-256 --encoding UTF8 --locale C.UTF-8 --no-sync
    as_postgres postgres --single -j -D "$data" postgres < /etc/testbed/database.sql
    as_postgres touch "$data/.initialised"
fi
# A killed container leaves its pid file; the process with that pid is another one now.
rm -f "$data/postmaster.pid"
exec setpriv --reuid postgres --regid postgres --init-groups postgres -D "$data" \
    -c listen_addresses='*' -c hba_file=/etc/testbed/pg_hba.conf \
    -c ssl=on -c ssl_cert_file=/run/tls/server.crt -c ssl_key_file=/run/tls/server.key \
    -c max_connections=200 -c log_min_messages=warning
