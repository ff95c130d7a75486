# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import datetime, timezone

import pytest

from testbed.services import imds

SETTINGS = {
    "account": "123456789012",
    "region": "eu-central-1",
    "role": "gateway",
    "secret_access_key": "secret",
    "session_token": "session",
    "hosts": {
        "host-1": {
            "instance_id": "i-0123456789abcdef0",
            "launched_at": "2026-01-02T03:04:05Z",
            "launch_index": 0,
            "ipv4": "127.0.0.1",
            "ipv6": "",
            "public_ipv4": "203.0.113.1",
            "tags": {"Name": "host-1"},
        },
        "host-2": {
            "instance_id": "i-0fedcba9876543210",
            "launched_at": "2026-01-02T04:04:05Z",
            "launch_index": 1,
            "ipv4": "127.0.0.2",
            "ipv6": "",
            "public_ipv4": "203.0.113.2",
            "tags": {"Name": "host-2"},
        },
    },
}
TTL = "X-aws-ec2-metadata-token-ttl-seconds"
TOKEN = "X-aws-ec2-metadata-token"


class Client:
    def __init__(self, metadata: str, control: str) -> None:
        self.metadata = metadata
        self.control = control

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
        return self._send(f"{self.metadata}{path}", method, headers)

    def token(self) -> str:
        status, token = self._send(f"{self.metadata}/latest/api/token", "PUT", {TTL: "60"})
        assert status == 200
        return token

    def get(self, path: str) -> tuple[int, str]:
        return self._send(f"{self.metadata}/latest/{path}", "GET", {TOKEN: self.token()})

    def set(self, host: str, **state: str) -> tuple[int, str]:
        return self._send(f"{self.control}/hosts/{host}", "PUT", {}, json.dumps(state).encode())

    @staticmethod
    def _send(url: str, method: str, headers: dict[str, str], body: bytes | None = None) -> tuple[int, str]:
        request = urllib.request.Request(url, method=method, headers=headers, data=body)
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


@pytest.fixture
def client() -> Iterator[Client]:
    servers = imds.make_servers(SETTINGS, [("127.0.0.1", 0)], ("127.0.0.1", 0))
    threads = [threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}) for server in servers]
    for thread in threads:
        thread.start()
    yield Client(*(f"http://127.0.0.1:{server.server_address[1]}" for server in servers))
    for server in servers:
        server.shutdown()
        server.server_close()
    for thread in threads:
        thread.join(timeout=5)


def test_nothing_is_told_without_a_token(client: Client) -> None:
    assert client.ask("/latest/meta-data/instance-id")[0] == 401
    assert client.ask("/latest/meta-data/instance-id", **{TOKEN: "made-up"})[0] == 401


def test_a_token_is_put_not_got(client: Client) -> None:
    assert client.ask("/latest/api/token", **{TTL: "60"})[0] == 405
    assert client.ask("/latest/api/token", "POST", **{TTL: "60"})[0] == 405


@pytest.mark.parametrize("ttl", ["", "0", "21601", "-1", "abc"])
def test_a_token_wants_a_sensible_ttl(client: Client, ttl: str) -> None:
    assert client.ask("/latest/api/token", "PUT", **({TTL: ttl} if ttl else {}))[0] == 400


def test_a_forwarded_request_gets_no_token(client: Client) -> None:
    assert client.ask("/latest/api/token", "PUT", **{TTL: "60", "X-Forwarded-For": "198.51.100.7"})[0] == 403


def test_metadata_is_read_only(client: Client) -> None:
    assert client.ask("/latest/meta-data/instance-id", "POST", **{TOKEN: client.token()})[0] == 405


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("meta-data/instance-id", "i-0123456789abcdef0"),
        ("meta-data/local-ipv4", "127.0.0.1"),
        ("meta-data/public-ipv4", "203.0.113.1"),
        ("meta-data/ami-launch-index", "0"),
        ("meta-data/tags/instance/Name", "host-1"),
        ("meta-data/tags/instance", "Name"),
        ("meta-data/iam/security-credentials/", "gateway"),
        ("meta-data/placement", "availability-zone\nregion"),
        ("meta-data/autoscaling/target-lifecycle-state", "InService"),
    ],
)
def test_values(client: Client, path: str, value: str) -> None:
    assert client.get(path) == (200, value)


@pytest.mark.parametrize("path", ["meta-data/nope", "meta-data/instance-id/more", "nope"])
def test_what_does_not_exist(client: Client, path: str) -> None:
    assert client.get(path)[0] == 404


def test_the_identity_document_says_when_the_instance_was_launched(client: Client) -> None:
    document = json.loads(client.get("dynamic/instance-identity/document")[1])
    assert document["instanceId"] == "i-0123456789abcdef0"
    assert document["privateIp"] == "127.0.0.1"
    assert document["pendingTime"] == "2026-01-02T03:04:05Z"
    assert document["region"] == "eu-central-1"


@pytest.mark.parametrize(("mode", "mark"), [("denied", "DENIED"), ("expired", "EXPIRED")])
def test_credentials_can_be_made_bad(client: Client, mode: str, mark: str) -> None:
    good = json.loads(client.get("meta-data/iam/security-credentials/gateway")[1])
    assert "DENIED" not in good["AccessKeyId"] and "EXPIRED" not in good["AccessKeyId"]
    assert client.set("host-1", credentials=mode)[0] == 200
    bad = json.loads(client.get("meta-data/iam/security-credentials/gateway")[1])
    assert mark in bad["AccessKeyId"]
    assert len(bad["AccessKeyId"]) == len(good["AccessKeyId"]) == 20
    assert bad["Token"] == "session"


def test_credentials_can_be_taken_away_and_given_back(client: Client) -> None:
    client.set("host-1", credentials="none")
    assert client.get("meta-data/iam/security-credentials/")[0] == 404
    client.set("host-1", credentials="ok")
    assert client.get("meta-data/iam/security-credentials/") == (200, "gateway")


def test_the_lifecycle_of_one_host_is_set_alone(client: Client) -> None:
    client.set("host-2", lifecycle="Terminated")
    assert client.get("meta-data/autoscaling/target-lifecycle-state") == (200, "InService")
    client.set("host-1", lifecycle="Standby")
    assert client.get("meta-data/autoscaling/target-lifecycle-state") == (200, "Standby")


def test_a_spot_instance_is_told_of_its_end_two_minutes_before(client: Client) -> None:
    assert client.get("meta-data/spot/instance-action")[0] == 404
    assert client.set("host-1", spot="terminate")[0] == 200
    notice = json.loads(client.get("meta-data/spot/instance-action")[1])
    assert notice["action"] == "terminate"
    left = datetime.strptime(notice["time"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    assert 110 < (left - datetime.now(timezone.utc)).total_seconds() <= 120
    client.set("host-1", spot="none")
    assert client.get("meta-data/spot/instance-action")[0] == 404


def test_a_rebalance_recommendation_comes_and_goes(client: Client) -> None:
    path = "meta-data/events/recommendations/rebalance"
    assert client.get(path)[0] == 404
    assert client.set("host-1", rebalance="recommended")[0] == 200
    assert set(json.loads(client.get(path)[1])) == {"noticeTime"}
    client.set("host-1", rebalance="none")
    assert client.get(path)[0] == 404


def test_the_control_names_what_it_does_not_know(client: Client) -> None:
    assert client.set("host-9", credentials="ok") == (404, "hosts are host-1, host-2\n")
    status, text = client.set("host-1", credentials="maybe")
    assert status == 400 and "ok, none, denied, expired" in text
    status, text = client.set("host-1", colour="red")
    assert status == 400 and "'colour'" in text


def test_a_token_of_one_host_is_no_good_for_another() -> None:
    metadata = imds.Metadata(SETTINGS)
    first, second = metadata.hosts["host-1"], metadata.hosts["host-2"]
    token = metadata.new_token(first, 60)
    assert metadata.accepts(token, first)
    assert not metadata.accepts(token, second)


def test_a_token_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    metadata = imds.Metadata(SETTINGS)
    host = metadata.hosts["host-1"]
    token = metadata.new_token(host, 60)
    now = 1059.0
    assert metadata.accepts(token, host)
    now = 1061.0
    assert not metadata.accepts(token, host)


def test_a_stranger_gets_nothing() -> None:
    assert imds.Metadata(SETTINGS).host_at("127.0.0.3") is None
