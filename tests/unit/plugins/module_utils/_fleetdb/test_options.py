# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb.errors import DatabaseError
from ansible_collections.evenkeel.fleet.plugins.module_utils._fleetdb.options import refuse_no_database


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGHOSTADDR", "PGUSER", "PGDATABASE", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("options", [{}, {"host": None, "name": "", "connect_timeout": 5}, {"sslmode": "disable"}])
def test_a_database_that_is_not_given_is_named_as_the_variable(options: dict[str, Any]) -> None:
    with pytest.raises(DatabaseError, match="No database is given: rollout_database is not set"):
        refuse_no_database(options)


@pytest.mark.parametrize(
    "options", [{"host": "db"}, {"name": "gateway"}, {"service": "fleet"}, {"conninfo": "host=db"}]
)
def test_each_way_to_give_one_will_do(options: dict[str, Any]) -> None:
    refuse_no_database(options)


def test_the_environment_of_libpq_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSERVICE", "fleet")
    refuse_no_database({})
