# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which tags of a resource may be removed."""

from __future__ import annotations

import re

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._aws.tags import RECORD, obsolete, recorded
from ansible_collections.evenkeel.fleet.plugins.module_utils._common.progress import OperationError

OURS = {"team": "web", "cost centre": "42"}


def test_a_tag_that_is_no_longer_declared_is_obsolete() -> None:
    found = {**recorded(OURS), "backup": "daily"}
    assert obsolete(found, OURS) == []
    assert obsolete(found, {"team": "web"}) == ["cost centre"]
    assert obsolete(found, {"team": "api"}) == ["cost centre"]
    assert obsolete(found, {}) == ["cost centre", RECORD, "team"]


def test_tags_of_others_stay() -> None:
    assert obsolete(OURS, {}) == [], "nothing says that they are ours"
    changed = {**recorded(OURS), "team": "changed by somebody"}
    assert obsolete(changed, {}) == ["cost centre", RECORD]
    assert recorded({}) == {}, "who declares no tags gets no record"
    assert obsolete({**recorded({"a=b": "c"}), "a": "b=c"}, {"a=b": "c"}) == []


def test_the_record_of_as_many_tags_as_aws_takes_fits_into_a_tag() -> None:
    many = {f"{number:0128d}": "x" * 256 for number in range(49)}
    record = recorded(many)[RECORD]
    assert len(record) <= 256
    assert re.fullmatch(r"[\w.:/=+\-@ ]*", record), "characters that all services take"
    assert obsolete({**many, RECORD: record}, {}) == sorted([*many, RECORD])
    with pytest.raises(OperationError, match="50 tags are declared, and AWS takes 49 beside evenkeel:tags"):
        recorded({**many, "one": "more"})
