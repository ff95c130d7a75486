# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hook scale_in.yml of a switch between two sides."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.aws.asg import Group, Scaled, scaled
from tests.integration.aws.stage import Played, play
from tests.integration.endpoint import REGION

SWITCHED = """
- hosts: localhost
  gather_facts: false
  vars:
    __rollout_into: green
    rollout_sides: {blue: [localhost], green: [elsewhere]}
  tasks:
    - ansible.builtin.set_fact:
        rollout_event: {kind: "{{ event }}"}
    - ansible.builtin.include_role:
        name: evenkeel.fleet.rollout
        tasks_from: scale_in
        rolespec_validate: false
      vars:
        rollout_result: {result: "{{ result }}"}
"""


@pytest.fixture(scope="module")
def account() -> Iterator[Scaled]:
    endpoint, refreshes = scaled()
    with endpoint:
        yield Scaled(endpoint, refreshes)


@pytest.fixture
def sides(account: Scaled) -> dict[str, Group]:
    return {"blue": account.group(2), "green": account.group(2)}


def end(
    account: Scaled,
    sides: dict[str, Group],
    folder: Path,
    *options: str,
    result: str = "succeeded",
    event: str = "kept_out",
    key: str = "AKIATEST",
) -> Played:
    playbook = folder / "switched.yml"
    playbook.write_text(SWITCHED)
    names = {side: group.name for side, group in sides.items()}
    variables = {"rollout_side_scaling_groups": names, "rollout_region": REGION, "result": result, "event": event}
    return play(account.endpoint, variables, *options, playbook=str(playbook), key=key)


def sizes(sides: dict[str, Group]) -> dict[str, tuple[int, int]]:
    """Of each side the desired capacity, and how many instances there are."""
    described = {side: group.described for side, group in sides.items()}
    return {side: (group["DesiredCapacity"], len(group["Instances"])) for side, group in described.items()}


def test_the_side_that_was_left_goes_and_the_other_one_stays(
    account: Scaled, sides: dict[str, Group], tmp_path: Path
) -> None:
    before = sides["blue"].described
    checked = end(account, sides, tmp_path, "--check")
    assert checked.code == 0, checked.failures
    assert sizes(sides) == {"blue": (2, 2), "green": (2, 2)}
    done = end(account, sides, tmp_path)
    assert done.code == 0, done.failures
    assert checked.changed == done.changed == ["Set the Auto Scaling group of the idle side to zero"]
    assert checked.tasks[checked.changed[0]].diff == done.tasks[done.changed[0]].diff
    assert sizes(sides) == {"blue": (0, 0), "green": (2, 2)}
    after = sides["blue"].described
    assert after == {**before, **{name: after[name] for name in ("MinSize", "DesiredCapacity", "Instances")}}
    assert end(account, sides, tmp_path).changed == []


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"result": "failed"}, "Nothing is scaled in. The switch did not succeed."),
        ({"event": "refused"}, "Nothing is scaled in. localhost is not kept out of service."),
    ],
)
def test_a_side_that_may_be_needed_stays(
    account: Scaled, sides: dict[str, Group], tmp_path: Path, how: dict[str, str], words: str
) -> None:
    ended = end(account, sides, tmp_path, **how)
    assert ended.code == 0 and ended.changed == [] and words in ended.text
    assert sizes(sides) == {"blue": (2, 2), "green": (2, 2)}


def test_who_may_not_and_what_is_not_there_is_named(account: Scaled, sides: dict[str, Group], tmp_path: Path) -> None:
    name = sides["blue"].name
    account.endpoint.faults.denied["autoscaling:UpdateAutoScalingGroup"] = name
    denied = end(account, sides, tmp_path)
    account.endpoint.faults.forget()
    assert denied.code != 0
    assert f"needs autoscaling:UpdateAutoScalingGroup on the Auto Scaling group {name}" in denied.failures
    sides["blue"].name = "typo"
    nowhere = end(account, sides, tmp_path)
    assert nowhere.code != 0 and "There is no Auto Scaling group typo" in nowhere.failures
    assert sizes({"green": sides["green"]}) == {"green": (2, 2)}
