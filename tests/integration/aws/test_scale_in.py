# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hook of blue_green.yml that scales the side in that has no requests any more."""

from __future__ import annotations

import json
from pathlib import Path

from tests.integration.aws.asg import Scaled, scaled
from tests.integration.aws.stage import play
from tests.integration.endpoint import REGION


def test_the_other_side_is_scaled_in_after_a_success_alone(tmp_path: Path) -> None:
    endpoint, refreshes = scaled()
    with endpoint:
        aws = Scaled(endpoint, refreshes)
        blue, green = aws.group(2), aws.group(2)
        hook = {
            "name": "evenkeel.fleet.rollout",
            "tasks_from": "scale_in",
            "rolespec_validate": False,
        }
        switched = {
            "__rollout_into": "green",
            "gateway_image": "registry.example/gateway:1",
            "rollout_region": REGION,
            "rollout_sides": {"blue": [], "green": []},
            "rollout_side_scaling_groups": {"blue": blue.name, "green": green.name},
        }
        playbook = tmp_path / "hook.yml"
        playbook.write_text(
            json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [{"include_role": hook}]}])
        )
        for result, left in (("failed", 2), ("succeeded", 0)):
            ran = play(endpoint, {**switched, "rollout_result": {"result": result}}, playbook=str(playbook))
            assert ran.code == 0, ran.text
            assert blue.described["DesiredCapacity"] == left
        assert green.described["DesiredCapacity"] == 2
