#!/usr/bin/env bash
# What bootstrap.sh runs on a host as root, behind settings.sh. Run again, it looks and changes nothing.
# shellcheck disable=SC2154 # settings.sh sets the names in lower case
set -euo pipefail

# Write a file where it differs; fails where it does not.
put() {
    local path=$1 mode=$2 content=$3
    printf '%s' "$content" | cmp -s - "$path" && return 1
    printf '%s' "$content" | install -D -m "$mode" /dev/stdin "$path"
}

enable() {
    if ! systemctl is-active -q "$1" || ! systemctl is-enabled -q "$1"; then systemctl enable -q --now "$1"; fi
}

install_packages() {
    local present
    present=$(dpkg-query -W -f '${db:Status-Abbrev}\n' "${packages[@]}" 2>/dev/null | grep -c '^ii') || true
    [ "$present" = "${#packages[@]}" ] || DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=300 "${packages[@]}"
}

install_agent() {
    [ -n "$agent_url" ] || return 0
    dpkg-query -W -f '${db:Status-Abbrev}' amazon-cloudwatch-agent 2>/dev/null | grep -q '^ii' && return
    curl -fsS -o /tmp/agent.deb "$agent_url"
    echo "$agent_sha256  /tmp/agent.deb" | sha256sum -c --quiet
    dpkg -i /tmp/agent.deb
    rm /tmp/agent.deb
}

guard_imds() {
    local network_id=$1 reload=""
    if put "$imds_rules_path" 0644 "${imds_rules//@BRIDGE@/br-${network_id:0:12}}" ||
        ! nft list table inet evenkeel_imds >/dev/null 2>&1; then
        nft -f "$imds_rules_path"
    fi
    put "$imds_unit_path" 0644 "$imds_unit" && reload=yes
    put "$imds_drop_in_path" 0644 "$imds_drop_in" && reload=yes
    [ -z "$reload" ] || systemctl daemon-reload
    enable "$imds_unit_name"
}

gate() {
    local left=$1 deadline=$((SECONDS + gate_timeout))
    while [ "$left" -gt 0 ]; do
        if curl -fs -m 3 -o /dev/null "$gate_url"; then
            left=$((left - 1))
        else
            left=$1
            [ "$SECONDS" -lt "$deadline" ] || { curl -sS -m 3 "$gate_url"; return 1; }
            sleep 0.5
        fi
    done
}

main() {
    local restart="" network_id successes=1
    # Before the package, so that the engine starts with it.
    if put /etc/docker/daemon.json 0644 "$daemon_json" && systemctl is-active -q docker; then restart=yes; fi
    install_packages
    install_agent
    [ -z "$restart" ] || systemctl restart docker
    enable docker.service

    network_id=$(docker network inspect -f '{{.Id}}' "$network" 2>/dev/null) ||
        network_id=$(docker network create "${network_options[@]}" "$network")
    guard_imds "$network_id"
    put /root/.docker/config.json 0600 "$docker_config" || true
    if [ -n "$agent_config_path" ] && put "$agent_config_path" 0644 "$agent_config"; then "${agent_command[@]}"; fi

    if [ "$(docker inspect -f '{{.State.Running}} {{index .Config.Labels "bench"}}' "$container" 2>/dev/null)" != \
        "true $container_version" ]; then
        env "${pull_environment[@]}" docker pull -q "$image"
        docker rm -f "$container" 2>/dev/null || true
        docker run -d --name "$container" --label "bench=$container_version" "${container_options[@]}" "$image"
        successes=$gate_successes
    fi
    gate "$successes"
}

main </dev/null
