# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._user_data import MOST_BYTES, problems

PLANTED = "planted-hunter2"


def test_what_can_be_used_has_no_problems() -> None:
    variables = {
        "gateway_environment": {"SECRETS_REFRESH_SECONDS": 30, "REQUIRED_SECRETS": "STRIPE_KEY,MAIL_KEY"},
        "gateway_secret_arn": "arn:aws:secretsmanager:eu-central-1:1:secret:app",
        "gateway_pull": True,
        "gateway_user": None,
    }
    assert problems("x" * MOST_BYTES, variables, {"HTTPS_PROXY": "http://proxy:3128", "_A1": ""}) == []


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"gateway_environment": {"DATABASE_URL": f"postgresql://u:{PLANTED}@db/x"}}, "DATABASE_URL"),
        ({"gateway_environment": {"db-password": 12345678}}, "db-password"),
        ({"a": [{"b": {"api_key": PLANTED}}]}, "api_key"),
        ({"a": [f"token={PLANTED}"]}, "a"),
        ({"ROUTES": f'[{{"headers": {{"X-Api-Key": "{PLANTED}"}}}}]'}, "X-Api-Key"),
    ],
)
def test_a_secret_is_named_wherever_it_is_and_never_shown(variables: dict[str, object], named: str) -> None:
    (problem,) = problems("", variables, {})
    assert problem.startswith(f"launch_template_vars has what looks like a secret in {named}, ")
    assert PLANTED not in problem
    assert problems("", variables, {}, [named]) == []


def test_the_environment_is_looked_at_too() -> None:
    found = problems(
        "", {}, {"PIP_INDEX_URL": f"https://ci:{PLANTED}@pypi/simple", "HTTPS-PROXY": "", "A; touch x": "1"}
    )
    assert len(found) == 2 and PLANTED not in str(found)
    assert found[0].startswith("launch_template_environment has what looks like a secret in PIP_INDEX_URL")
    assert found[1].startswith('launch_template_environment has "HTTPS-PROXY", "A; touch x".')


def test_the_size_is_counted_in_bytes() -> None:
    assert problems("ü" * (MOST_BYTES // 2), {}, {}) == []
    (problem,) = problems("ü" * (MOST_BYTES // 2) + "x", {}, {})
    assert f"{MOST_BYTES + 1} bytes" in problem
