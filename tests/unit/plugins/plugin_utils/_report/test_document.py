# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from ansible_collections.evenkeel.fleet.plugins.plugin_utils._report.document import as_text, document, write
from ansible_collections.evenkeel.fleet.tests.unit.plugins.plugin_utils._report.told import (
    BEGAN,
    begun,
    recording,
    told,
    update,
)

SCHEMA = json.loads((Path(__file__).parents[5] / "docs" / "rollout-report.schema.json").read_text())


@pytest.mark.parametrize("name", ["succeeded", "failed"])
def test_it_has_the_documented_shape_at_any_moment(name: str) -> None:
    events = recording(name)
    for count in range(0, len(events) + 1, 10):
        report = document(told(events[:count], finish=None), 100.0, BEGAN)
        jsonschema.validate(json.loads(as_text(report)), SCHEMA)
    jsonschema.validate(json.loads(as_text(document(told(events), 100.0, BEGAN))), SCHEMA)


def test_everything_in_it_is_documented() -> None:
    """A property that the schema lacks would pass unseen elsewhere."""
    broken = {**document(told(recording("failed")), 100.0, BEGAN), "more": 1}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, SCHEMA)


def test_a_host_takes_its_own_waits_and_the_rest() -> None:
    report = document(told(recording("succeeded")), 100.0, BEGAN)
    for host in report["hosts"]:
        assert host["waits_seconds"] == pytest.approx(sum(host["waits"].values()), abs=0.01)
        assert host["seconds"] == pytest.approx(host["waits_seconds"] + host["overhead_seconds"], abs=0.01)
    assert sum(phase["seconds"] for phase in report["phases"]) == pytest.approx(report["seconds"], abs=0.01)


def test_what_runs_lasts_until_now() -> None:
    events = [*begun("a"), *update("a", 10.0, {})[:-1]]
    report = document(told(events, finish=None), 42.0, BEGAN)
    assert report["seconds"] == 42.0
    swap = report["hosts"][0]["steps"][-1]
    assert (swap["step"], swap["result"], swap["seconds"]) == ("swap", "running", 31.0)


def test_a_reader_never_finds_half_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    write(folder, "rollout-1", {".json": "{}", ".html": "<p>"})
    write(folder, "rollout-1", {".json": "{1}"})
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "rollout-1.json": "{1}",
        "rollout-1.html": "<p>",
    }
