# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of a testbed: identities, addresses, ports, keys, passwords and rendered configuration.

Reads settings as JSON from stdin, brings the testbed's state directory up to date and prints the plan as JSON.
What exists is kept, so that running it again changes nothing; hosts that are no longer wanted lose their identity.
One program and not twenty tasks, because a second `up` should take seconds.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import jinja2
import yaml

from testbed.planning import containers, identity, images, pki
from testbed.planning.files import Directory, fingerprint

CHECKOUT = Path(__file__).resolve().parents[1]
TEMPLATES = CHECKOUT / "testbed" / "templates"
FIRST_HOST_ADDRESS = 101
MOST_HOSTS = 150
HOST_IMAGES = ("host", "trixie-host", "rpm-host")


def make_plan(settings: dict[str, Any], directory: Directory) -> dict[str, Any]:
    testbed: str = settings["name"]
    count: int = settings["hosts"]
    if not 1 <= count <= MOST_HOSTS:
        raise SystemExit(f"testbed_hosts is {count}; it must be from 1 to {MOST_HOSTS}")
    known: dict[str, Any] = json.loads(directory.read("state.json") or "{}")
    created = known.get("created") or datetime.now(timezone.utc).isoformat(timespec="seconds")
    subnet = settings["subnet"] or known.get("subnet") or identity.choose_subnet(testbed)
    digest = hashlib.sha256(testbed.encode()).hexdigest()
    subnet6 = f"fd{digest[:2]}:{digest[2:6]}:{digest[6:10]}::/64" if settings["ipv6"] else ""
    hosts = {}
    others: list[str] = settings["other_hosts"]
    if len(others) > count:
        raise SystemExit(f"testbed_other_hosts has {len(others)} images; there are {count} hosts")
    if unknown := sorted(set(others) - set(HOST_IMAGES)):
        raise SystemExit(f"testbed_other_hosts has {', '.join(unknown)}; it must be of {', '.join(HOST_IMAGES)}")
    host_images = [settings["host"]["image"]] * (count - len(others)) + others
    for number, image in enumerate(host_images, start=1):
        name = f"host-{number}"
        own = known.get("hosts", {}).get(name) or identity.choose_host(datetime.fromisoformat(created), number)
        hosts[name] = {
            "instance_id": own["instance_id"],
            "launched_at": own["launched_at"],
            "launch_index": number - 1,
            "image": image,
            "public_ipv4": f"203.0.113.{number}",
            "tags": {"Name": name, "Fleet": testbed, "Role": "gateway"},
            **identity.addresses(subnet, subnet6, FIRST_HOST_ADDRESS + number - 1),
        }
    suffixes = known.get("secret_suffixes") or {name: secrets.token_hex(3) for name in ("app", "db")}
    wanted_ports = [name for service in settings["services"].values() for name in service.get("ports", {})]
    state = {
        "created": created,
        "subnet": subnet,
        "subnet6": subnet6,
        "ports": identity.choose_ports(testbed, wanted_ports, known.get("ports", {})),
        "secret_suffixes": suffixes,
        "hosts": hosts,
    }
    directory.write("state.json", json.dumps(state, indent=2) + "\n")
    planned_images = images.plan_images(settings)
    # The closure of the packages depends on what the host image already has.
    repositories = {
        image: fingerprint(planned_images[image]["name"], *settings["packages"], CHECKOUT / "testbed" / "packages")
        for image in ("host", "trixie-host")
    }
    repositories["rpm-host"] = fingerprint(planned_images["rpm-host"]["name"], repositories["host"])
    services = {
        name: {**service, **identity.addresses(subnet, subnet6, service["address"])}
        for name, service in settings["services"].items()
    }
    return {
        **state,
        "name": testbed,
        "services": services,
        "secret_arns": {
            name: f"arn:aws:secretsmanager:{settings['region']}:{settings['account']}:secret:fleet/{name}-{suffix}"
            for name, suffix in suffixes.items()
        },
        "gateway": json.loads(directory.read("gateway.json") or '{"images": {}}'),
        "images": planned_images,
        "package_repositories": repositories,
    }


def render(directory: Directory, context: dict[str, Any]) -> None:
    """Every template, below the same path in the state directory; `hosts/` once for each host."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    environment.filters["to_json"] = lambda value: json.dumps(value, indent=2)
    for template in sorted(environment.list_templates(extensions=["j2"])):
        name = template.removesuffix(".j2")
        # Services read their files as users of their own: the state directory itself keeps other people out.
        mode = 0o600 if "/" not in name else 0o644
        directory.write(name, environment.get_template(template).render(context), mode)


def main() -> None:
    settings = json.load(sys.stdin)
    directory = Directory(Path(settings["directory"]))
    plan = make_plan(settings, directory)

    names = ["localhost", "127.0.0.1"]
    for name, service in plan["services"].items():
        names += [name, f"{settings['name']}-{name}", *service["aliases"]]
    pki.ensure_certificates(directory, settings["name"], names)

    secret_values = yaml.safe_load(directory.read("secrets.yml") or "{}")
    secret_values = {**identity.choose_secrets(), **secret_values}
    directory.write("secrets.yml", yaml.safe_dump(secret_values))

    authorized = pki.ensure_ssh_key(directory, "ssh/id_ed25519", f"operator of testbed {settings['name']}")
    directory.remove_others("hosts", set(plan["hosts"]))
    known_hosts = []
    for name, host in plan["hosts"].items():
        line = pki.ensure_ssh_key(directory, f"hosts/{name}/ssh_host_ed25519_key", name)
        known_hosts.append(f"{host['ipv4']} {line}\n")
        directory.write(f"hosts/{name}/authorized_keys", authorized + "\n")
        directory.write(f"hosts/{name}/ca.crt", directory.read("ca/ca.crt") or "", 0o644)
        imds, dns = plan["services"]["imds"], plan["services"]["dns"]
        directory.write(
            f"hosts/{name}/network",
            f"METADATA_IPV4={imds['ipv4']}\nMETADATA_IPV6={imds['ipv6']}\nNAMESERVER={dns['ipv4']}\n",
        )
    directory.write("ssh/known_hosts", "".join(known_hosts))

    render(directory, {**settings, **plan, "secrets": secret_values})
    places = [(name, settings["services"][name], place) for name, place in plan["services"].items()]
    places += [(name, {**settings["host"], "image": place["image"]}, place) for name, place in plan["hosts"].items()]
    plan["containers"] = [
        containers.container(name, definition, place, settings, plan) for name, definition, place in places
    ]
    plan["missing"] = containers.plan_changes(settings["name"], plan)
    plan["changed"] = directory.changed
    json.dump(plan, sys.stdout)


if __name__ == "__main__":
    main()
