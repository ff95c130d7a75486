#!/usr/bin/env bash
# The bootstrap as a plain script: one ssh to each host, all at once. Usage: bootstrap.sh FOLDER
# FOLDER holds hosts (a name a line), ssh_config and settings.sh; the hosts' output goes to FOLDER/<host>.log.
set -euo pipefail

folder=${1:?usage: bootstrap.sh FOLDER}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

declare -A running
while read -r host; do
    timeout 900 ssh -F "$folder/ssh_config" "$host" sudo bash -s >"$folder/$host.log" 2>&1 \
        < <(cat "$folder/settings.sh" "$here/host.sh") &
    running[$host]=$!
done <"$folder/hosts"

failed=0
for host in "${!running[@]}"; do
    wait "${running[$host]}" && continue
    failed=1
    echo "$host failed:" >&2
    tail -n 20 "$folder/$host.log" >&2
done
exit "$failed"
