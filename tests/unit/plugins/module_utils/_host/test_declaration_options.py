# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.evenkeel.fleet.plugins.module_utils._host.argument_specs import CONTAINER, DECLARATIONS
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.container_declaration import fingerprint, shown


def test_what_host_converge_made_is_as_container_swap_wants_it() -> None:
    declared: dict[str, Any] = {
        "name": "gateway",
        "image": "gateway:1",
        "env": {"DEBUG": True, "A": None},
        "memory": "64m",
        "healthcheck": {"test": ["true"], "retries": "3"},
        "gate": {"url": "http://x"},
    }
    converged = ArgumentSpecValidator({"declarations": DECLARATIONS}).validate(
        {"declarations": [{"name": "gateway", "containers": [declared]}]}
    )
    swapped = ArgumentSpecValidator(CONTAINER).validate(declared)
    assert converged.error_messages == swapped.error_messages == []
    container = converged.validated_parameters["declarations"][0]["containers"][0]
    assert container == swapped.validated_parameters
    assert fingerprint(container) == fingerprint(swapped.validated_parameters)
    assert shown(container) == shown(swapped.validated_parameters)
