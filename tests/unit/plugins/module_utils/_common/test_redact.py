# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._common.redact import (
    redacted,
    secrets,
    shown_environment,
)


@pytest.mark.parametrize(
    "text",
    [
        "postgres://gateway:hunter2@db/x",
        "redis://:hunter2@redis:6379",
        "DB_PASSWORD=hunter2",
        '"secret": "hunter2", "a": 1',
        "token: hunter2",
        "Authorization: Bearer hunter2hunter2",
        "jwt eyJhunter2hunter2.hunter2.hunter2",
        "key AKIAHUNTER2HUNTER2XX",
        "aws_secret_access_key = hunter2",
    ],
)
def test_secrets_are_hidden(text: str) -> None:
    assert "hunter2" not in redacted(text).lower()
    assert "(hidden)" in redacted(text)


@pytest.mark.parametrize(
    "text",
    [
        "AWS_SECRET_ARN=arn:aws:secretsmanager:eu-central-1:1:secret:app",
        "database: connection refused (10.0.0.1:5432)",
        "GET http://users.internal:8080/health 200",
        "secret: AWS_DB_SECRET_ARN=arn:aws:secretsmanager:eu-central-1:1:secret:db: ResourceNotFoundException",
        '{"db_password": null, "use_token": true}',
        "secret fleet/app: access denied",
    ],
)
def test_reasons_stay_readable(text: str) -> None:
    assert redacted(text) == text


def test_environment_for_a_diff() -> None:
    given = {"A": "1", "DB_PASSWORD": "hunter2", "APP_SECRET_ARN": "arn:aws:x", "URL": "a://b:c@d"}
    shown = shown_environment(given)
    assert secrets(given) == {"hunter2", "a://b:c@d"}
    assert shown == {"A": "1", "DB_PASSWORD": "(hidden)", "APP_SECRET_ARN": "arn:aws:x", "URL": "a://b:(hidden)@d"}


@pytest.mark.parametrize("word", ["a", "password", "token="])
def test_a_word_of_a_megabyte_takes_no_quadratic_time(word: str) -> None:
    """Such as a base64 document in a log; a search in quadratic time would need half an hour here."""
    text = word * (1_000_000 // len(word))
    assert redacted(f"{text} password=hunter2").endswith(" password=(hidden)")
