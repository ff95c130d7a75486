# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._common.advice import AWS_PROBLEMS, advice


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        ("Signature expired: 20260101T000000Z", "AWS refuses the signature: the clock of the controller is off"),
        ("Unable to locate credentials", "The controller has no AWS credentials"),
        ("an error nobody has seen", ""),
    ],
)
def test_the_remedy_names_the_machine_that_made_the_call(message: str, remedy: str) -> None:
    found = advice(AWS_PROBLEMS, message, machine="the controller")
    assert found.startswith(remedy)
    assert bool(found) == bool(remedy)
