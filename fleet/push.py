# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pushes the gateway's images to the fleet's registry: push.py STATE_DIRECTORY, with what to push as JSON on stdin.

Prints a line for each image pushed, nothing when the registry has them all, and writes their digests to gateway.json.
The login is kept in the state directory: docker's own place for it is the operator's ~/.docker.
"""

from __future__ import annotations

import base64
import json
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import yaml

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
PUSH_TIMEOUT = 300


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=PUSH_TIMEOUT, check=False)
    if done.returncode:
        raise SystemExit(f"docker {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def has(registry: str, repository: str, digest: str, login: str, certificate: Path) -> bool:
    request = urllib.request.Request(
        f"https://{registry}/v2/{repository}/manifests/{digest}",
        headers={"Authorization": f"Basic {login}", "Accept": MANIFEST},
        method="HEAD",
    )
    try:
        with urllib.request.urlopen(request, timeout=10, context=ssl.create_default_context(cafile=certificate)):
            return True
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return False
        raise


def push(state: Path, wanted: dict[str, Any]) -> None:
    token = yaml.safe_load((state / "secrets.yml").read_text())["ecr_token"]
    login = base64.b64encode(f"AWS:{token}".encode()).decode()
    published, repository = wanted["published"], wanted["repository"]
    config = state / "docker"
    config.mkdir(mode=0o700, exist_ok=True)
    (config / "config.json").touch(mode=0o600)
    (config / "config.json").write_text(json.dumps({"auths": {published: {"auth": login}}}))

    record = state / "gateway.json"
    known = json.loads(record.read_text()) if record.is_file() else {"images": {}, "made_of": {}}
    for tag, image in wanted["images"].items():
        digest = known["images"].get(tag, "").rpartition("@")[2]
        same = digest and known["made_of"].get(tag) == image
        if same and has(published, repository, digest, login, state / "ca" / "ca.crt"):
            continue
        target = f"{published}/{repository}:{tag}"
        docker("tag", image, target)
        docker("--config", str(config), "push", "--quiet", target)
        digests = json.loads(docker("image", "inspect", "--format", "{{json .RepoDigests}}", target))
        digest = next(name for name in digests if name.startswith(f"{published}/")).rpartition("@")[2]
        docker("rmi", "--no-prune", target)
        known["images"][tag] = f"{wanted['registry']}/{repository}@{digest}"
        known["made_of"][tag] = image
        record.write_text(json.dumps(known, indent=2) + "\n")
        print(f"pushed {tag} as {digest}")


if __name__ == "__main__":
    push(Path(sys.argv[1]), json.load(sys.stdin))
