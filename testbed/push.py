# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pushes the gateway's images to the testbed's registry: push.py STATE_DIRECTORY, with what to push as JSON on stdin.

Writes their digests to gateway.json, and prints a line when that changed. What the registry then holds is kept for the
next testbed, whose registry starts with it: a push is mostly compressing, and need not be done twice.
The login is kept in the state directory: docker's own place for it is the operator's ~/.docker.
"""

from __future__ import annotations

import base64
import json
import shutil
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

    kept = Path(wanted["kept"])
    digests = json.loads((kept / "digests.json").read_text()) if (kept / "digests.json").is_file() else {}
    pushed = False
    for tag, image in wanted["images"].items():
        if image in digests and has(published, repository, digests[image], login, state / "ca" / "ca.crt"):
            continue
        target = f"{published}/{repository}:{tag}"
        docker("tag", image, target)
        docker("--config", str(config), "push", "--quiet", target)
        names = json.loads(docker("image", "inspect", "--format", "{{json .RepoDigests}}", target))
        digests[image] = next(name for name in names if name.startswith(f"{published}/")).rpartition("@")[2]
        docker("rmi", "--no-prune", target)
        pushed = True
    if pushed:
        keep(kept, wanted["container"], {image: digests[image] for image in wanted["images"].values()})

    record = state / "gateway.json"
    images = {tag: f"{wanted['registry']}/{repository}@{digests[image]}" for tag, image in wanted["images"].items()}
    if not record.is_file() or json.loads(record.read_text())["images"] != images:
        record.write_text(json.dumps({"images": images}, indent=2) + "\n")
        print(f"the registry has {', '.join(images.values())}")


def keep(kept: Path, container: str, digests: dict[str, str]) -> None:
    """Copies what the registry holds; the folder is exchanged whole, as another testbed may read it now."""
    draft = kept.with_name(f"{kept.name}.{container}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    docker("cp", f"{container}:/var/lib/docker-registry/.", str(draft / "data"))
    (draft / "digests.json").write_text(json.dumps(digests))
    shutil.rmtree(kept, ignore_errors=True)
    draft.rename(kept)


if __name__ == "__main__":
    push(Path(sys.argv[1]), json.load(sys.stdin))
