# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._host import registry
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.host import Host, HostError, Result
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.pull_errors import explain_aws, explain_pull
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.registry import ensure_login, pull
from ansible_collections.evenkeel.fleet.tests.unit.plugins.module_utils._host.doubles import Runner

ECR = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
TOKEN = {"registry": ECR, "method": "token", "region": "eu-central-1", "environment": {"AWS_CA_BUNDLE": "/ca"}}
IMAGE = {"image": f"{ECR}/gateway@sha256:1", "pull_timeout": 60}


@pytest.fixture(autouse=True)
def client_config(root: Path) -> Path:
    folder = root / "home/.docker"
    folder.mkdir(parents=True)
    return folder / "config.json"


def logged_in(runner: Runner, config: Path) -> None:
    """What the client leaves behind."""
    runner.answer("aws ecr", "hunter2\n")
    config.write_text(json.dumps({"auths": {ECR: {"auth": "x"}}}))


def test_the_helper_is_merged_privately(target: Host, client_config: Path) -> None:
    client_config.write_text('{"auths": {"other": {"auth": "hunter2"}}, "credHelpers": {"b": "c"}}')
    ensure_login(target, {"registry": ECR})
    assert json.loads(client_config.read_text()) == {
        "auths": {"other": {"auth": "hunter2"}},
        "credHelpers": {"b": "c", ECR: "ecr-login"},
    }
    assert client_config.stat().st_mode & 0o777 == 0o600
    assert "hunter2" not in json.dumps(target.diff)
    ensure_login(target, {"registry": ECR})
    assert len(target.changes) == 1


def test_a_readable_file_is_closed(target: Host, client_config: Path) -> None:
    client_config.write_text(json.dumps({"credHelpers": {ECR: "ecr-login"}}))
    client_config.chmod(0o644)
    ensure_login(target, {"registry": ECR})
    assert client_config.stat().st_mode & 0o777 == 0o600
    assert target.changes[0]["action"] == "attributes"


def test_the_helper_must_be_there(target: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Host, "has_command", lambda *_: False)
    with pytest.raises(HostError, match="docker-credential-ecr-login isn't installed"):
        ensure_login(target, {"registry": ECR})


def test_the_token_goes_through_a_pipe_only(target: Host, runner: Runner, client_config: Path) -> None:
    logged_in(runner, client_config)
    ensure_login(target, TOKEN)
    assert "hunter2" not in " ".join(runner.lines)
    assert runner.inputs == [None, "hunter2"]
    assert "hunter2" not in json.dumps([target.diff, target.changes])
    assert runner.environments[0]["AWS_CA_BUNDLE"] == "/ca"
    assert client_config.stat().st_mode & 0o777 == 0o600
    assert registry.TOKENS.stat().st_mode & 0o777 == 0o600


def test_a_valid_login_stays_and_an_old_one_is_renewed(target: Host, runner: Runner, client_config: Path) -> None:
    logged_in(runner, client_config)
    ensure_login(target, TOKEN)
    ensure_login(target, TOKEN)
    assert len(runner.lines) == 2
    registry.TOKENS.write_text(json.dumps({ECR: time.time() + 3600}))
    ensure_login(target, TOKEN)
    assert len(runner.lines) == 4


def test_a_lost_login_is_renewed(target: Host, runner: Runner, client_config: Path) -> None:
    logged_in(runner, client_config)
    ensure_login(target, TOKEN)
    client_config.write_text('{"auths": {}}')
    ensure_login(target, TOKEN)
    assert len(runner.ran("docker login")) == 2


def test_a_helper_gives_way_to_a_token(target: Host, runner: Runner, client_config: Path) -> None:
    logged_in(runner, client_config)
    client_config.write_text(json.dumps({"credHelpers": {ECR: "ecr-login", "b": "c"}}))
    ensure_login(target, TOKEN)
    assert json.loads(client_config.read_text())["credHelpers"] == {"b": "c"}


def test_check_mode_does_not_log_in(checked: Host, runner: Runner) -> None:
    ensure_login(checked, TOKEN)
    assert runner.lines == []
    assert checked.changes[0]["action"] == "log in"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Unable to locate credentials. You can configure", "no AWS credentials: attach an instance profile"),
        ("no EC2 IMDS role found", "no AWS credentials"),
        ("An error occurred (AccessDeniedException) ... not authorized to perform", "ecr:GetAuthorizationToken"),
        ("(ExpiredTokenException): The security token included in the request is expired", "have expired"),
        ("(InvalidSignatureException): Signature expired: 2024 is now earlier", "clock of this host"),
        ("(UnrecognizedClientException): The security token is invalid", "doesn't know these credentials"),
        ('Could not connect to the endpoint URL: "https://api.ecr"', "endpoint can't be reached"),
        ("SSL validation failed: certificate verify failed", "AWS_CA_BUNDLE"),
    ],
)
def test_what_aws_says_is_explained(said: str, words: str) -> None:
    assert words in explain_aws("No login", said)


def test_a_refused_token_is_explained_without_output(target: Host, runner: Runner) -> None:
    runner.answer("aws ecr", "hunter2", code=254, stderr="An error occurred (AccessDeniedException)")
    with pytest.raises(HostError, match="AWS denies it") as caught:
        ensure_login(target, TOKEN)
    assert "hunter2" not in caught.value.message
    assert not registry.TOKENS.exists()


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("manifest for x:y not found: manifest unknown", "no such image or tag"),
        ("no basic auth credentials", "refuses this host"),
        ("pull access denied for x, repository does not exist or may require 'docker login'", "refuses this host"),
        ("dial tcp: lookup x: no such host", "can't be reached"),
        ("dial tcp 1.2.3.4:443: i/o timeout", "can't be reached"),
        ("x509: certificate signed by unknown authority", "isn't trusted"),
        ("toomanyrequests: Rate exceeded", "limits the rate"),
        ("write /var/lib/docker/tmp/x: no space left on device", "The disk is full: "),
    ],
)
def test_what_a_pull_says_is_explained(said: str, words: str) -> None:
    assert words in explain_pull("It can't be pulled", Result((), 1, "", said), Path("/var/lib/docker"))


def test_the_environment_of_login_and_container_reach_the_helper(target: Host, runner: Runner) -> None:
    pull(target, {**IMAGE, "pull_environment": {"HTTPS_PROXY": "http://p"}}, [TOKEN])
    assert runner.environments[0]["AWS_CA_BUNDLE"] == "/ca"
    assert runner.environments[0]["HTTPS_PROXY"] == "http://p"
    assert runner.environments[0]["HOME"].endswith("/home")


@pytest.mark.usefixtures("target", "runner")
@pytest.mark.parametrize(
    ("error", "words"), [("AccessDeniedException", "AWS denies it"), ("a new sort of trouble", "a new sort of trouble")]
)
def test_the_helpers_own_log_says_why(root: Path, error: str, words: str) -> None:
    log = root / "home/.ecr/log/ecr-login.log"
    log.parent.mkdir(parents=True)
    log.write_text('level=error msg="no EC2 IMDS role found"\n')

    def failing(*_: object) -> Result:
        with log.open("a") as stream:
            stream.write(f'level=debug msg="x"\nlevel=error msg="{error}"\n')
        return Result((), 1, "", "no basic auth credentials")

    subject = Host(runner=failing)
    with pytest.raises(HostError, match=words) as caught:
        pull(subject, IMAGE, [])
    assert "IMDS" not in caught.value.message
    assert "level=debug" not in caught.value.message


@pytest.mark.usefixtures("target")
@pytest.mark.parametrize(("helped", "failures", "pulls"), [(True, 1, 2), (True, 2, 2), (False, 1, 1)])
def test_a_helper_that_gives_nothing_is_asked_once_more(
    client_config: Path, monkeypatch: pytest.MonkeyPatch, helped: bool, failures: int, pulls: int
) -> None:
    monkeypatch.setattr(registry, "PULL_AGAIN_AFTER", 0.0)
    client_config.write_text(json.dumps({"credHelpers": {ECR: "ecr-login"} if helped else {}}))
    answers = [Result((), 1, "", "no basic auth credentials")] * failures + [Result((), 0, "", "")]
    asked = []

    def answer(*_: object) -> Result:
        asked.append(1)
        return answers[len(asked) - 1]

    if helped and failures == 1:
        pull(Host(runner=answer), IMAGE, [])
    else:
        with pytest.raises(HostError, match="refuses this host"):
            pull(Host(runner=answer), IMAGE, [])
    assert len(asked) == pulls
