# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb.errors import FleetError
from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb.leader import compared, from_gateways

LEADER = {"instanceId": "i-1", "launchedAt": "2026-01-01", "amILeader": True, "term": 3, "leader": "i-1"}
FOLLOWER = {"instanceId": "i-2", "launchedAt": "2026-01-02", "amILeader": False, "term": 3, "leader": "i-1"}


@pytest.mark.parametrize(
    ("answers", "leader", "words"),
    [
        ([LEADER, FOLLOWER], "i-1", []),
        ([FOLLOWER, LEADER, LEADER], "i-1", []),
        ([LEADER, {**FOLLOWER, "amILeader": True}], None, ["i-1 and i-2 all say that they are the leader"]),
        ([FOLLOWER], None, ["no gateway says that it is the leader", "i-2 says that i-1 is the leader"]),
        ([LEADER, {**FOLLOWER, "term": 2}], "i-1", ["the gateways are in different terms: 2, 3"]),
        ([LEADER, {**FOLLOWER, "leader": "i-3"}], "i-1", ["i-2 says that i-3 is the leader"]),
        ([LEADER, "connection refused"], "i-1", ["http://1 is not usable: connection refused"]),
        (["timed out"], None, ["http://0 is not usable: timed out", "no gateway says that it is the leader"]),
        # Older gateways tell neither term nor leader.
        ([{"instanceId": "i-1", "amILeader": True}, {"instanceId": "i-2", "amILeader": False}], "i-1", []),
    ],
)
def test_what_gateways_say(answers: list[Any], leader: str | None, words: list[str]) -> None:
    result = compared({f"http://{number}": answer for number, answer in enumerate(answers)})
    assert result["leader"] == leader
    assert result["doubts"] == words


@pytest.mark.parametrize("url", ["10.0.0.1", "//10.0.0.1", "http://", "ftp://10.0.0.1"])
def test_what_is_no_address_is_not_asked(url: str) -> None:
    with pytest.raises(FleetError, match="http:// or https://"):
        from_gateways(["http://10.0.0.1", url], 1)


def test_the_instances_are_in_the_order_of_age() -> None:
    result = compared({"a": FOLLOWER, "b": LEADER})
    assert [one["instance_id"] for one in result["instances"]] == ["i-1", "i-2"]
    assert [one["leads"] for one in result["instances"]] == [True, False]
    assert result["term"] == 3
