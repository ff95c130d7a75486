# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The images of a testbed: the tag is a digest of the inputs, so that none is built twice."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from testbed.planning.containers import docker
from testbed.planning.files import fingerprint

CHECKOUT = Path(__file__).resolve().parents[2]


def plan_images(settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Name and build arguments of each image; the tag says what it is made from, so that none is built twice."""
    images: dict[str, dict[str, Any]] = {}
    for key, image in settings["images"].items():
        folder = CHECKOUT / image["folder"]
        arguments = {
            name: images[value]["name"] if value in images else value
            for name, value in image.get("arguments", {}).items()
        }
        tag = fingerprint(json.dumps(arguments), folder)
        images[key] = {
            "key": key,
            "name": image.get("name") or f"{settings['image_prefix']}-{key}:{tag}",
            "folder": str(folder),
            "arguments": arguments,
        }
    return images


def main() -> None:
    """Print the plan of a testbed that has only images, and which of them the engine lacks."""
    planned = plan_images(json.load(sys.stdin))
    present = docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}")
    missing = [key for key, image in planned.items() if image["name"] not in present]
    json.dump({"images": planned, "missing": {"images": missing}}, sys.stdout)


if __name__ == "__main__":
    main()
