# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The user data of the role launch_template turn a bare host into a serving gateway, without help."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.system.fleet import wait_until
from tests.system.user_data import (
    LOG,
    assert_in_service,
    boot,
    launch,
    make_bare,
    rendered,
    state,
    variables,
    wait_until_over,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system.fleet import Fleet


def test_bare_hosts_bring_themselves_up_or_are_abandoned(serving: Fleet, tmp_path: Path) -> None:
    good, bad = "host-3", "host-2"
    user_data = rendered(serving, tmp_path, variables(serving, tmp_path))
    make_bare(serving, tmp_path, good, bad)
    image = serving.variables["gateway_image"]
    broken = user_data.replace(image, image.partition("@")[0] + "@sha256:" + "0" * 64)
    for host, script in ((good, user_data), (bad, broken)):
        launch(serving, host)
        boot(serving, host, script)

    wait_until_over(serving, good, bad)
    assert_in_service(serving, good)

    log = serving.on(bad, f"cat {LOG}")
    assert state(serving, bad) == "Terminating:Proceed", log
    assert " ABANDON after " in log and "FAILED: Bring this host up: exit code 2" in log
    assert "manifest" in log or "not found" in log, log
    assert bad not in serving.targets()

    # The same instance, as if it were the next one: what is done already is no hindrance.
    launch(serving, bad)
    boot(serving, bad, user_data)
    wait_until_over(serving, bad)
    assert state(serving, bad) == "InService", serving.on(bad, f"cat {LOG}")
    wait_until(lambda: serving.targets().get(bad) == "healthy", "the load balancer takes it for healthy")
    serving.assert_serving()
    serving.service("restart", "aws")  # whose account is as it was made
