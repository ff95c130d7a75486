# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import OperationError
from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.exported import Wanted, container_variables, read

PARAMETER = "arn:aws:ssm:eu-central-1:123456789012:parameter/permissions/database"
SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:redis-AbCdEf:token::"
TOPIC = "arn:aws:sns:eu-central-1:123456789012:events"
WANTED = Wanted(
    required=("REGION", "EPR_DATABASE_URL", "EPR_TOKENS|EPR_PEERS"),
    may_be_empty=("EPR_QUEUE",),
    defaults={"CPU": "512", "GROUP": "/ecs/$CPU", "SKIP": "false"},
    stamped={"TAG": "SKIP"},
    secrets=frozenset({"EPR_DATABASE_URL", "EPR_TOKENS"}),
    prefix="EPR_",
)
GIVEN = {"REGION": "eu-central-1", "EPR_DATABASE_URL": PARAMETER, "EPR_PEERS": "10.0.0.0/16", "EPR_QUEUE": ""}


def exported(**changed: Any) -> dict[str, str]:
    given = {name: value for name, value in {**GIVEN, **changed}.items() if value is not None}
    return read(given, WANTED, lambda: "20261129")


def refusal(**changed: Any) -> str:
    with pytest.raises(OperationError) as caught:
        exported(**changed)
    return str(caught.value)


def test_what_is_exported_and_the_defaults_of_the_rest() -> None:
    found = exported(EPR_MORE="1", EPR_NONE="", OTHER="x")
    defaults = {"CPU": "512", "GROUP": "/ecs/512", "SKIP": "false", "TAG": "20261129"}
    assert found == {**GIVEN, **defaults, "EPR_TOKENS": "", "EPR_MORE": "1"}
    assert list(found) == sorted(found)
    assert exported(CPU="")["CPU"] == "512", "empty is not set"
    assert exported(CPU="1024")["GROUP"] == "/ecs/1024"
    assert exported(CPU="1024", GROUP="$CPU")["GROUP"] == "$CPU", "what is exported stays as it is"


def test_a_switch_makes_a_variable_required_in_place_of_the_time() -> None:
    assert exported(TAG="1.4")["TAG"] == exported(TAG="1.4", SKIP="True")["TAG"] == "1.4"
    assert "not set: TAG." in refusal(SKIP="true")


def test_one_error_names_all_that_is_missing() -> None:
    text = refusal(REGION=None, EPR_DATABASE_URL="", EPR_PEERS=None, EPR_QUEUE=None)
    assert "are not set: REGION, EPR_DATABASE_URL, EPR_TOKENS or EPR_PEERS." in text
    assert "may be empty: EPR_QUEUE." in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EPR_DATABASE_URL", "postgresql://user:hunter2@host/db"),
        ("EPR_DATABASE_URL", "hunter2"),
        ("EPR_DATABASE_URL", "arn:aws:sns:eu-central-1:123456789012:hunter2"),
        ("EPR_TOKENS", "hunter2"),
        ("EPR_REDIS_URL", "rediss://:hunter2@cache:6379/0"),
    ],
)
def test_a_secret_in_plain_text_is_refused_and_not_shown(name: str, value: str) -> None:
    text = refusal(**{name: value})
    assert f"in the task definition: {name}." in text
    assert f'--name /ecs/{name} --value "${name}"' in text
    assert "hunter2" not in text


def test_what_is_missing_and_what_is_plain_are_one_error() -> None:
    text = refusal(REGION=None, EPR_TOKENS="hunter2")
    assert "are not set: REGION." in text
    assert "in the task definition: EPR_TOKENS." in text


def test_an_arn_of_a_secret_becomes_a_secret_of_the_container() -> None:
    given = {"EPR_B": SECRET, "EPR_A": PARAMETER, "EPR_TOPIC": TOPIC, "EPR_EMPTY": "", "CPU": "512"}
    assert container_variables(given, "EPR_") == {
        "environment": [{"name": "EPR_EMPTY", "value": ""}, {"name": "EPR_TOPIC", "value": TOPIC}],
        "secrets": [{"name": "EPR_A", "valueFrom": PARAMETER}, {"name": "EPR_B", "valueFrom": SECRET}],
    }
