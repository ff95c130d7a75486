# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one testbed is made of: identities, addresses, ports, keys, passwords and rendered configuration.

Reads settings as JSON from stdin, brings the testbed's state directory up to date and prints the plan as JSON.
What exists is kept, so that running it again changes nothing; hosts that are no longer wanted lose their identity.
One program and not twenty tasks, because a second `up` should take seconds.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import secrets
import socket
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import jinja2
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CHECKOUT = Path(__file__).resolve().parents[1]
TEMPLATES = CHECKOUT / "testbed" / "templates"
FIRST_HOST_ADDRESS = 101
MOST_HOSTS = 150
IGNORED = {"__pycache__", ".venv", ".mypy_cache", ".pytest_cache", ".ruff_cache", "tests"}
HOST_PORTS = range(20000, 32000)  # below the range that the kernel gives to outgoing connections


class Directory:
    """Files below the state directory; remembers whether anything changed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.changed = False
        root.mkdir(mode=0o700, parents=True, exist_ok=True)

    def write(self, name: str, content: str, mode: int = 0o600) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.parent != self.root:
            # The root is private; below it the users of the containers read what is mounted, by each file's own mode.
            path.parent.chmod(0o755)
        if path.is_file() and path.read_text() == content:
            if path.stat().st_mode & 0o777 != mode:
                path.chmod(mode)
                self.changed = True
            return
        # In place, not renamed: a container that mounts the file would keep the old inode.
        if not path.exists():
            path.touch(mode=mode)
        path.chmod(mode)
        path.write_text(content)
        self.changed = True

    def read(self, name: str) -> str | None:
        path = self.root / name
        return path.read_text() if path.is_file() else None

    def remove_others(self, folder: str, keep: set[str]) -> None:
        """Removes sub-folders of `folder` that are not in `keep`."""
        for path in sorted((self.root / folder).glob("*")):
            if path.name not in keep:
                for file in path.iterdir():
                    file.unlink()
                path.rmdir()
                self.changed = True


def fingerprint(*parts: Path | str) -> str:
    """A short digest over texts, files and folders."""
    result = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            result.update(part.encode() + b"\0")
            continue
        for path in sorted(part.rglob("*")) if part.is_dir() else [part]:
            name = path.relative_to(part)
            if path.is_file() and not IGNORED.intersection(name.parts):
                result.update(f"{name}\0".encode() + path.read_bytes() + b"\0")
    return result.hexdigest()[:16]


def pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def certificate_builder(subject: str, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=3650))
    )


def ensure_certificates(directory: Directory, testbed: str, names: list[str]) -> None:
    """The testbed's CA, and one server certificate for every name that a service answers to."""
    ca_key_text, ca_text = directory.read("ca/ca.key"), directory.read("ca/ca.crt")
    if ca_key_text and ca_text:
        ca_key = serialization.load_pem_private_key(ca_key_text.encode(), None)
        assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
        ca = x509.load_pem_x509_certificate(ca_text.encode())
    else:
        ca_key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"CA of testbed {testbed}")])
        ca = (
            certificate_builder(f"CA of testbed {testbed}", subject, ca_key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
            .add_extension(key_usage(signs_certificates=True), critical=True)
            .sign(ca_key, hashes.SHA256())
        )
        directory.write("ca/ca.key", pem(ca_key))
        directory.write("ca/ca.crt", ca.public_bytes(serialization.Encoding.PEM).decode(), 0o644)

    names_file = json.dumps(sorted(names))
    if directory.read("tls/server.crt") and directory.read("tls/names.json") == names_file:
        return
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        certificate_builder(f"services of testbed {testbed}", ca.subject, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .add_extension(key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.SubjectAlternativeName([general_name(name) for name in names]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    directory.write("tls/server.key", pem(key))
    directory.write("tls/server.crt", certificate.public_bytes(serialization.Encoding.PEM).decode(), 0o644)
    directory.write("tls/names.json", names_file)


def key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def ensure_ssh_key(directory: Directory, name: str, comment: str) -> str:
    """Writes an Ed25519 key pair where there is none; returns the public line."""
    public = directory.read(f"{name}.pub")
    if public is None or directory.read(name) is None:
        key = ed25519.Ed25519PrivateKey.generate()
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        line = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        public = f"{line.decode()} {comment}\n"
        directory.write(name, private.decode())
        directory.write(f"{name}.pub", public, 0o644)
    return public.strip()


def networks_in_use() -> list[ipaddress.IPv4Network]:
    """The networks that this machine has a route to (the default route left out)."""
    found = []
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        fields = line.split()
        destination, mask = (socket.inet_ntoa(int(fields[column], 16).to_bytes(4, "little")) for column in (1, 7))
        if mask != "0.0.0.0":
            found.append(ipaddress.IPv4Network(f"{destination}/{mask}", strict=False))
    return found


def choose_subnet(testbed: str) -> str:
    """A /24 of the private 10/8 that nothing on this machine uses; the same testbed name tends to get the same one."""
    taken = networks_in_use()
    for attempt in range(1000):
        high, low = hashlib.sha256(f"{testbed}/{attempt}".encode()).digest()[:2]
        subnet = ipaddress.IPv4Network(f"10.{64 + high % 128}.{low}.0/24")
        if not any(subnet.overlaps(network) for network in taken):
            return str(subnet)
    raise SystemExit("no free /24 in 10.64.0.0 to 10.191.255.0: set testbed_subnet")


def choose_ports(testbed: str, wanted: list[str], known: dict[str, int]) -> dict[str, int]:
    """A free port on 127.0.0.1 for each wanted name; known ones stay, as containers keep them over a restart."""
    ports = {name: port for name, port in known.items() if name in wanted}
    offset = int.from_bytes(hashlib.sha256(testbed.encode()).digest()[:4], "big") % len(HOST_PORTS)
    candidates = (HOST_PORTS[(offset + step) % len(HOST_PORTS)] for step in range(len(HOST_PORTS)))
    for name in wanted:
        while name not in ports:
            port = next(candidates)
            if port in ports.values():
                continue
            with socket.socket() as probe:
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
            ports[name] = port
    return ports


def choose_host(created: datetime, number: int) -> dict[str, str]:
    """The identity of a new instance. host-1 was launched first, so it is the oldest."""
    launched = created - timedelta(days=30) + timedelta(hours=number)
    return {"instance_id": f"i-0{secrets.token_hex(8)}", "launched_at": launched.strftime("%Y-%m-%dT%H:%M:%SZ")}


def choose_secrets() -> dict[str, str]:
    return {
        "database_password": secrets.token_urlsafe(24),
        "database_owner_password": secrets.token_urlsafe(24),
        "ecr_token": secrets.token_urlsafe(48),
        "redis_password": secrets.token_urlsafe(24),
        "jwt_secret": secrets.token_urlsafe(48),
        "instance_secret_access_key": secrets.token_urlsafe(30),
        "instance_session_token": secrets.token_urlsafe(120),
        "operator_secret_access_key": secrets.token_urlsafe(30),
        # What a registry signs its upload sessions with: without it, a restart would break a running push.
        "registry_http_secret": secrets.token_urlsafe(32),
    }


def addresses(subnet: str, subnet6: str, number: int) -> dict[str, str]:
    return {
        "ipv4": str(ipaddress.IPv4Network(subnet)[number]),
        "ipv6": str(ipaddress.IPv6Network(subnet6)[number]) if subnet6 else "",
    }


def make_plan(settings: dict[str, Any], directory: Directory) -> dict[str, Any]:
    testbed: str = settings["name"]
    count: int = settings["hosts"]
    if not 1 <= count <= MOST_HOSTS:
        raise SystemExit(f"testbed_hosts is {count}; it must be from 1 to {MOST_HOSTS}")
    known: dict[str, Any] = json.loads(directory.read("state.json") or "{}")
    created = known.get("created") or datetime.now(timezone.utc).isoformat(timespec="seconds")
    subnet = settings["subnet"] or known.get("subnet") or choose_subnet(testbed)
    digest = hashlib.sha256(testbed.encode()).hexdigest()
    subnet6 = f"fd{digest[:2]}:{digest[2:6]}:{digest[6:10]}::/64" if settings["ipv6"] else ""
    hosts = {}
    for number in range(1, count + 1):
        name = f"host-{number}"
        identity = known.get("hosts", {}).get(name) or choose_host(datetime.fromisoformat(created), number)
        hosts[name] = {
            "instance_id": identity["instance_id"],
            "launched_at": identity["launched_at"],
            "launch_index": number - 1,
            "public_ipv4": f"203.0.113.{number}",
            "tags": {"Name": name, "Fleet": testbed, "Role": "gateway"},
            **addresses(subnet, subnet6, FIRST_HOST_ADDRESS + number - 1),
        }
    suffixes = known.get("secret_suffixes") or {name: secrets.token_hex(3) for name in ("app", "db")}
    wanted_ports = [name for service in settings["services"].values() for name in service.get("ports", {})]
    state = {
        "created": created,
        "subnet": subnet,
        "subnet6": subnet6,
        "ports": choose_ports(testbed, wanted_ports, known.get("ports", {})),
        "secret_suffixes": suffixes,
        "hosts": hosts,
    }
    directory.write("state.json", json.dumps(state, indent=2) + "\n")
    images = plan_images(settings)
    services = {
        name: {**service, **addresses(subnet, subnet6, service["address"])}
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
        "images": images,
        # The closure of the packages depends on what the host image already has.
        "package_repository": fingerprint(
            images["host"]["name"], *settings["packages"], CHECKOUT / "testbed" / "packages"
        ),
    }


def container(
    name: str, definition: dict[str, Any], place: dict[str, Any], settings: dict[str, Any], plan: dict[str, Any]
) -> dict[str, Any]:
    """Arguments for docker_container; the fingerprint changes when the container has to be made anew."""
    testbed = settings["name"]
    binds = [
        volume.replace("%name%", name).replace("%packages%", plan["package_repository"])
        for volume in definition.get("volumes", [])
    ]
    read = [Path(bind.split(":")[0]) for bind in binds if bind.endswith(":ro") and "/.cache/" not in bind]
    result = {
        "name": f"{testbed}-{name}",
        "hostname": name,
        "image": plan["images"][definition["image"]]["name"],
        "ipv4": place["ipv4"],
        "ipv6": place["ipv6"],
        "aliases": definition.get("aliases", []),
        "published_ports": [
            f"127.0.0.1:{plan['ports'][port]}:{inside}" for port, inside in definition.get("ports", {}).items()
        ],
        "volumes": binds,
        "mounts": [
            {"type": "volume", "source": f"{testbed}-{name}-{volume}", "target": target, "labels": settings["labels"]}
            for volume, target in definition.get("data", {}).items()
        ],
        "options": definition.get("options", {}),
    }
    return {**result, "fingerprint": fingerprint(json.dumps(result, sort_keys=True), *read)}


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


def docker(*arguments: str) -> list[str]:
    command = ["docker", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout.splitlines()


def plan_changes(testbed: str, plan: dict[str, Any]) -> dict[str, Any]:
    """What is missing, differs or is no longer wanted, by a look at the engine."""
    columns = '{{.Names}}\t{{.State}}\t{{.Label "evenkeel.fingerprint"}}'
    lines = docker("ps", "--all", "--filter", f"label=evenkeel.fleet={testbed}", "--format", columns)
    present = {name: rest for name, *rest in (line.split("\t") for line in lines)}
    images = docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}")
    volumes = docker("volume", "ls", "--quiet", "--filter", f"label=evenkeel.fleet={testbed}")
    wanted = {item["name"]: item for item in plan["containers"]}
    # A host that is made anew is bare: what its engine kept goes with the old one.
    hosts = [wanted[f"{testbed}-{name}"] for name in plan["hosts"]]
    stale = {
        item["name"]
        for item in hosts
        if present.get(item["name"], ["", ""])[1] != item["fingerprint"]
        and (item["name"] in present or f"{item['name']}-docker" in volumes)
    }
    return {
        "images": [key for key, image in plan["images"].items() if image["name"] not in images],
        "network": not docker("network", "ls", "--quiet", "--filter", f"name=^{testbed}$"),
        "run": [item for name, item in wanted.items() if present.get(name) != ["running", item["fingerprint"]]],
        "remove": sorted((present.keys() - wanted.keys()) | stale),
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
    ensure_certificates(directory, settings["name"], names)

    secret_values = yaml.safe_load(directory.read("secrets.yml") or "{}")
    secret_values = {**choose_secrets(), **secret_values}
    directory.write("secrets.yml", yaml.safe_dump(secret_values))

    authorized = ensure_ssh_key(directory, "ssh/id_ed25519", f"operator of testbed {settings['name']}")
    directory.remove_others("hosts", set(plan["hosts"]))
    known_hosts = []
    for name, host in plan["hosts"].items():
        line = ensure_ssh_key(directory, f"hosts/{name}/ssh_host_ed25519_key", name)
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
    places += [(name, settings["host"], place) for name, place in plan["hosts"].items()]
    plan["containers"] = [container(name, definition, place, settings, plan) for name, definition, place in places]
    plan["missing"] = plan_changes(settings["name"], plan)
    plan["changed"] = directory.changed
    json.dump(plan, sys.stdout)


if __name__ == "__main__":
    main()
