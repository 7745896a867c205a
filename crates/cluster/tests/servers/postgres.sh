#!/bin/sh
# A PostgreSQL server of one's own in a folder, for as long as standard input stays open: it ends with whoever started it,
# however that one ends. Prints "ready" once it can be used, as user "test", database "postgres", no password.
#   postgres.sh FOLDER PORT [SETTING=VALUE ...]
# Lines on standard input: "kill" ends it at once, as a crash would, "start" starts it again; each answers "ready" or "dead".
set -eu
folder=$1 port=$2
shift 2
settings=
for each in "$@"; do settings="$settings -c $each"; done

bin=
for each in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/local/pgsql/bin; do
  if [ -x "$each/initdb" ]; then bin=$each/; fi
done
if [ -z "$bin" ] && ! command -v initdb >/dev/null; then
  echo "missing: no initdb here; install the package postgresql" && exit 3
fi

# PostgreSQL does not run as root.
as=
if [ "$(id -u)" = 0 ]; then
  user=postgres
  id "$user" >/dev/null 2>&1 || user=nobody
  chown "$user" "$folder"
  as="setpriv --reuid=$user --regid=$(id -g "$user") --clear-groups"
fi
cd /
data=$folder/data
[ -d "$data" ] || $as "${bin}initdb" -D "$data" -U test -A trust -E UTF8 --no-locale --no-sync >"$folder/initdb.log"

start() {
  # shellcheck disable=SC2086
  $as "${bin}postgres" -D "$data" -p "$port" -c listen_addresses=127.0.0.1 -c unix_socket_directories="$folder" \
    -c max_connections=200 -c log_min_messages=fatal $settings >>"$folder/log" 2>&1 </dev/null &
  server=$!
  tries=0
  until "${bin}pg_isready" -q -h 127.0.0.1 -p "$port"; do
    tries=$((tries + 1))
    if [ $tries -gt 300 ] || ! kill -0 $server 2>/dev/null; then
      echo "failed" && cat "$folder/log" >&2 && exit 1
    fi
    sleep 0.1
  done
  echo ready
}

stop() {
  kill -QUIT $server 2>/dev/null || true
  wait $server 2>/dev/null || true
}

trap stop EXIT
trap 'exit 143' TERM INT HUP
start
while read -r line; do
  case $line in
    kill) stop && echo dead ;;
    start) start ;;
  esac
done
