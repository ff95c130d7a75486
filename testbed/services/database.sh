#!/bin/sh
# PostgreSQL with one user that owns one database: DATABASE_NAME, DATABASE_PASSWORD. Its data is lost with the container.
set -eu

data=/var/lib/postgresql/data
PATH=$(echo /usr/lib/postgresql/*/bin):$PATH
as_postgres() { setpriv --reuid postgres --regid postgres --init-groups "$@"; }

install -d -o postgres -g postgres -m 0755 /var/run/postgresql
if [ ! -f "$data/.initialised" ]; then
    rm -rf "$data"
    install -d -o postgres -g postgres -m 0700 "$data"
    as_postgres initdb --pgdata "$data" --auth-local trust --auth-host scram-sha-256 --encoding UTF8 --locale C.UTF-8 --no-sync
    echo 'host all all all scram-sha-256' >>"$data/pg_hba.conf"
    as_postgres postgres --single -j -D "$data" postgres <<SQL
CREATE ROLE $DATABASE_NAME LOGIN PASSWORD '$DATABASE_PASSWORD';

CREATE DATABASE $DATABASE_NAME OWNER $DATABASE_NAME;

SQL
    as_postgres touch "$data/.initialised"
fi
rm -f "$data/postmaster.pid"
exec setpriv --reuid postgres --regid postgres --init-groups postgres -D "$data" -c listen_addresses='*' -c fsync=off -c max_connections=200
