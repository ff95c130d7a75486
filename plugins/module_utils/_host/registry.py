# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logins to ECR and image pulls, with the cause and the remedy of what fails."""

from __future__ import annotations

import json
import os
import pwd
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .._common.advice import advice
from .docker import Docker
from .files import Attributes, merged, parse_json, read, replace
from .host import STATE_DIR, Host, HostError, Spec
from .pull_errors import ECR_PROBLEMS, explain_aws, explain_pull, last_lines
from .storage import image_folder

HELPER = "ecr-login"
TOKENS = STATE_DIR / "logins.json"
TOKEN_LIFE = 12 * 3600
RENEW_BEFORE = 2 * 3600
PULL_AGAIN_AFTER = 2.0


def home() -> Path:
    return Path(pwd.getpwuid(os.geteuid()).pw_dir)


def client_environment(environment: Mapping[str, Any] | None) -> dict[str, str]:
    """sudo may keep another user's HOME; login and pull must use the same one."""
    return {"HOME": str(home()), **{name: str(value) for name, value in (environment or {}).items()}}


def ensure_login(host: Host, spec: Spec) -> None:
    if (spec.get("method") or "helper") == "helper":
        ensure_helper(host, spec["registry"])
    else:
        ensure_token(host, spec)


def docker_config() -> Path:
    return home() / ".docker" / "config.json"


def registry_of(reference: str) -> str:
    return reference.split("/", 1)[0]


def has_helper(config: Mapping[str, Any], registry: str) -> bool:
    return registry in (config.get("credHelpers") or {})


def client_config() -> dict[str, Any]:
    path = docker_config()
    return parse_json(path, read(path) or b"{}")


def ensure_helper(host: Host, registry: str) -> None:
    """The credential helper gets a token at each pull; no credentials are stored that could expire or leak."""
    program = f"docker-credential-{HELPER}"
    if not host.has_command(program) and not host.expects_packages:
        raise HostError(f"{program} isn't installed here: declare the package amazon-ecr-credential-helper.")
    path = docker_config()
    current = client_config()
    wanted = merged(current, {"credHelpers": {registry: HELPER}})
    if wanted == current:
        _ensure_private(host, path)
        return
    with host.change(str(path), "update", _helpers(current), _helpers(wanted)) as apply:
        if apply:
            _save_private(path, wanted)


def _helpers(config: Mapping[str, Any]) -> str:
    """The rest of the file may hold other registries' passwords and stays out of the diff."""
    return json.dumps({"credHelpers": config.get("credHelpers", {})}, indent=2, sort_keys=True) + "\n"


def _ensure_private(host: Host, path: Path) -> None:
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        with host.change(str(path), "attributes", f"mode: {mode:04o}\n", "mode: 0600\n") as apply:
            if apply:
                path.chmod(0o600)


def _save_private(path: Path, value: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    replace(path, (json.dumps(value, indent=2) + "\n").encode(), Attributes(0o600, os.geteuid(), os.getegid()))


def ensure_token(host: Host, spec: Spec) -> None:
    """Log in with a token of twelve hours, early enough that no pull meets an expired one."""
    registry = spec["registry"]
    path = docker_config()
    config = client_config()
    expiries = parse_json(TOKENS, read(TOKENS) or b"{}")
    left = float(expiries.get(registry) or 0) - time.time()
    # If a helper is set for a registry, the client ignores a stored login.
    helped = has_helper(config, registry)
    stored = registry in (config.get("auths") or {}) and not helped
    if stored and left > RENEW_BEFORE:
        _ensure_private(host, path)
        return
    reason = f"login valid for {max(left, 0) / 3600:.0f} h\n" if stored else "no login\n"
    with host.change(f"login {registry}", "log in", reason, f"login valid for {TOKEN_LIFE / 3600:.0f} h\n") as apply:
        if apply:
            started = time.time()
            if helped:
                _save_private(path, merged(config, {"credHelpers": {registry: None}}))
            _log_in(host, spec)
            docker_config().chmod(0o600)
            _save_private(TOKENS, {**expiries, registry: int(started + TOKEN_LIFE)})


def _log_in(host: Host, spec: Spec) -> None:
    registry, region = spec["registry"], spec.get("region")
    environment = client_environment(spec.get("environment"))
    for program in ("aws", "docker"):
        if not host.has_command(program):
            raise HostError(f"{program} isn't installed here: a login by token needs it.")
    argv = ["aws", "ecr", "get-login-password", *(["--region", region] if region else [])]
    token = host.run(argv, timeout=90, environment=environment)
    if not token.ok or not token.stdout.strip():
        # Only standard error: standard output is where a token would be.
        raise HostError(explain_aws(f"No login token for {registry}", token.stderr))
    result = host.run(
        ["docker", "login", "--username", "AWS", "--password-stdin", registry],
        stdin=token.stdout.strip(),
        timeout=90,
        environment=environment,
    )
    if not result.ok:
        raise HostError(explain_pull(f"The login at {registry} failed", result, docker_config()))


def login_of(container: Spec, logins: Sequence[Spec]) -> Spec:
    """The login at the registry of a container's image."""
    registry = registry_of(container["image"])
    return next((entry for entry in logins if entry["registry"] == registry), {})


def pull_environment(container: Spec, logins: Sequence[Spec]) -> dict[str, str]:
    own = container.get("pull_environment") or {}
    return client_environment({**(login_of(container, logins).get("environment") or {}), **own})


def pull(host: Host, container: Spec, logins: Sequence[Spec]) -> None:
    """Pull a container's image through the client, which is what runs the credential helper."""
    reference = container["image"]
    environment = pull_environment(container, logins)
    timeout = float(container.get("pull_timeout") or 600)
    what = f"The image {reference} can't be pulled"
    log = home() / ".ecr" / "log" / "ecr-login.log"
    for again in (True, False):
        read_before = log.stat().st_size if log.exists() else 0
        result = host.run(["docker", "pull", "--quiet", reference], timeout=timeout, environment=environment)
        if result.ok:
            return
        if result.code == 127:
            raise HostError(f"{what}: the docker command line isn't installed here.")
        # The client hides why the helper gave no credentials; the helper's log has the cause.
        output = errors_since(log, read_before)
        if advice(ECR_PROBLEMS, output, machine="this host"):
            raise HostError(explain_aws(what, output))
        if not again or "no basic auth credentials" not in result.stderr:
            break
        if not has_helper(client_config(), registry_of(reference)):
            break
        # For a cause that may pass: an endpoint that was busy, a connection that broke.
        time.sleep(PULL_AGAIN_AFTER)
    message = explain_pull(what, result, image_folder(_info(host)))
    raise HostError(f"{message}\n{last_lines(output)}" if output else message)


def pull_policy(container: Spec) -> str:
    return container.get("pull") or ("missing" if "@sha256:" in container["image"] else "always")


def ensure_image(host: Host, docker: Docker, container: Spec, logins: Sequence[Spec]) -> dict[str, Any] | None:
    """The local image of a container, pulled where needed; None in check mode where it isn't there yet."""
    reference = container["image"]
    present = docker.image(reference)
    policy = pull_policy(container)
    if policy == "never":
        if present is None and not host.check_mode:
            raise HostError(f"The image {reference} isn't on this host, and pull is set to never.")
        return present
    if present is not None and policy == "missing":
        return present
    if host.check_mode:
        host.would_act()
        if present is not None:
            return present
        with host.change(f"image {reference}", "pull", after=f"{reference}\n"):
            return None
    with host.phase("pull"):
        pull(host, container, logins)
    pulled = docker.image(reference)
    if pulled is None:
        raise HostError(f"The image {reference} was pulled, but the engine does not list it.")
    if present is None or present["Id"] != pulled["Id"]:
        with host.change(f"image {reference}", "pull", _image_id(present), _image_id(pulled)):
            pass
    return pulled


def _image_id(image: Mapping[str, Any] | None) -> str:
    return f"{image['Id']}\n" if image else ""


def _info(host: Host) -> dict[str, Any]:
    try:
        return Docker(host, None).info()
    except HostError:
        return {}


def errors_since(log: Path, position: int) -> str:
    if not log.exists():
        return ""
    with log.open(encoding="utf-8", errors="replace") as stream:
        stream.seek(position)
        return "".join(line for line in stream if "level=error" in line)
