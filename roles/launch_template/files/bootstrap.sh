# shellcheck shell=bash
# From a bare instance to a serving gateway, without an operator. The settings are above, in the user data.
# Idempotent: a repeated run skips what is done.
# shellcheck disable=SC2154
set -euo pipefail
umask 077
export HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive PIP_DISABLE_PIP_VERSION_CHECK=1

home=/opt/evenkeel
log=/var/log/evenkeel-bootstrap.log
python=$home/venv/bin/python
SECONDS=0

# Runs a step within the remaining time, and reports its failure with the cause.
step() {
    local what=$1 left=$((bootstrap_timeout - SECONDS)) status=0
    shift
    echo "$(date -u +%FT%TZ) $what"
    [ "$left" -gt 0 ] || left=1
    timeout --kill-after=10 "$left" "$@" || status=$?
    case $status in
        0) return 0 ;;
        124 | 137) echo "FAILED: $what: not finished within the $bootstrap_timeout s for all steps" ;;
        *) echo "FAILED: $what: exit code $status" ;;
    esac
    return "$status"
}

# dnf has no --no-remove. Its table shows what it would remove or replace; an upgrade replaces itself.
removed_by_dnf() {
    { timeout --kill-after=10 120 dnf --assumeno install "$@" 2>&1 || true; } | awk '
        /^[A-Z][A-Za-z ]*:/ { removing = /^Removing/; next }
        $1 == "replacing" { sub(/[.][^.]*$/, "", $2); if ($2 != current) print $2; next }
        /^ / { current = $1; if (removing) print $1 }'
}

install_packages() {
    local removed
    [ ${#packages[@]} -gt 0 ] || return 0
    if command -v apt-get >/dev/null; then
        step "Refresh the package lists" apt-get -qq -o DPkg::Lock::Timeout=120 update
        step "Install ${packages[*]}" apt-get -qq -o DPkg::Lock::Timeout=120 install \
            --no-install-recommends --no-remove "${packages[@]}"
    else
        removed=$(removed_by_dnf "${packages[@]}")
        if [ -n "$removed" ]; then
            echo "FAILED: Install ${packages[*]}: it would remove ${removed//$'\n'/, }"
            return 1
        fi
        step "Install ${packages[*]}" dnf -q -y install "${packages[@]}"
    fi
}

write_files() {
    mkdir -p "$home"
    printf '%s\n' "$host_vars" >"$home/vars.json"
    printf '%s\n' "$inventory" >"$home/hosts.json"
    cat >"$home/cloud.py" <<'PYTHON'
"""fetch URL PATH, or complete GROUP HOOK RESULT: AWS calls before the AWS CLI is installed."""

import shutil
import sys
import urllib.request
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

IMDS = "http://169.254.169.254/latest"
CONFIG = Config(connect_timeout=5, read_timeout=30, retries={"mode": "standard", "total_max_attempts": 8})


def metadata(path):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    ttl = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
    with opener.open(urllib.request.Request(f"{IMDS}/api/token", headers=ttl, method="PUT"), timeout=5) as answer:
        token = {"X-aws-ec2-metadata-token": answer.read().decode()}
    with opener.open(urllib.request.Request(f"{IMDS}/meta-data/{path}", headers=token), timeout=5) as answer:
        return answer.read().decode()


def client(service):
    return boto3.client(service, region_name=metadata("placement/region"), config=CONFIG)


def fetch(url, path):
    place = urlsplit(url)
    if place.scheme == "s3":
        source = client("s3").get_object(Bucket=place.netloc, Key=place.path.lstrip("/"))["Body"]
    else:
        source = urllib.request.urlopen(url, timeout=30)
    with source, open(path, "wb") as file:
        shutil.copyfileobj(source, file)


def complete(group, hook, result):
    instance = metadata("instance-id")
    about = {"AutoScalingGroupName": group, "LifecycleHookName": hook, "InstanceId": instance}
    try:
        client("autoscaling").complete_lifecycle_action(**about, LifecycleActionResult=result)
    except ClientError as error:
        if "No active Lifecycle Action" not in str(error):
            raise
        print(f"{instance} has no lifecycle action to complete: {error}")


try:
    {"fetch": fetch, "complete": complete}[sys.argv[1]](*sys.argv[2:])
except Exception as error:
    sys.exit(f"{sys.argv[1]}: {error}")
PYTHON
}

check_tarball() {
    echo "$collection_sha256  $home/collection.tar.gz" | sha256sum --check --status && return 0
    echo "FAILED: Check the collection: $collection_url has another SHA-256 digest than $collection_sha256"
    return 1
}

bootstrap() (
    set -euo pipefail
    install_packages
    write_files
    step "Make a virtual environment" "$interpreter" -m venv "$home/venv"
    step "Install ${requirements[*]}" "$python" -m pip install --quiet "${requirements[@]}"
    step "Fetch $collection_url" "$python" "$home/cloud.py" fetch "$collection_url" "$home/collection.tar.gz"
    check_tarball
    export ANSIBLE_COLLECTIONS_PATH=$home/collections ANSIBLE_NOCOLOR=1 ANSIBLE_LOCALHOST_WARNING=false
    step "Install the collection" "$home/venv/bin/ansible-galaxy" collection install \
        --offline --force -p "$ANSIBLE_COLLECTIONS_PATH" "$home/collection.tar.gz"
    step "Bring this host up" "$home/venv/bin/ansible-playbook" \
        -i "$home/hosts.json" -e "@$home/vars.json" evenkeel.fleet.site
)

# Continue, or end this instance: the reason is above in the log.
conclude() {
    local result=CONTINUE
    [ "$1" -eq 0 ] || result=ABANDON
    echo "$(date -u +%FT%TZ) $result after $SECONDS s"
    [ "$result" = CONTINUE ] || tail -n 15 "$log" >/dev/console 2>/dev/null || true
    timeout --kill-after=10 120 "$python" "$home/cloud.py" complete "$group" "$launching_hook" "$result" && return 0
    echo "The lifecycle action of $launching_hook was not completed: the hook's timeout and default result apply"
}

kept() { tee -a "$log" | systemd-cat -t evenkeel-bootstrap; }

# Not in a condition, where the shell would go on after a failed step.
set +e
bootstrap 2>&1 | kept
status=${PIPESTATUS[0]}
conclude "$status" 2>&1 | kept
exit "$status"
