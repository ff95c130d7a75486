# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The SVG of a rollout that the demo draws."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from tests.checkout.support import CHECKOUT
from tools.rollout_svg import MARGIN, NAMES, TRACK, draw

SVG = "{http://www.w3.org/2000/svg}"


def step(name: str, began: float, seconds: float, result: str = "ok", **parts: float) -> dict[str, Any]:
    return {"step": name, "result": result, "began": began, "seconds": seconds, "own_seconds": None, "parts": parts}


def report(*steps: dict[str, Any]) -> dict[str, Any]:
    after = {"version": "v2"}
    return {
        "result": "succeeded",
        "seconds": 100.0,
        "image": "registry/gateway:v2",
        "digest": "",
        "fleet_steps": [step("lock", 0.0, 1.0)],
        "hosts": [{"name": "<a>", "after": after, "steps": list(steps)}],
        "leader_changes": [{"at": 50.0, "from": "b", "to": "<a>"}],
    }


def bars(picture: str) -> dict[str, tuple[float, float]]:
    """Where the bars begin and how long they are, in seconds, by their titles."""
    found = {}
    for shape in ElementTree.fromstring(picture).iter(f"{SVG}rect"):
        title = shape.findtext(f"{SVG}title")
        if title is not None:
            left, width = float(shape.attrib["x"]) - MARGIN - NAMES, float(shape.attrib["width"])
            found[title] = (left / TRACK * 100, width / TRACK * 100)
    return found


def test_bars_stand_where_their_steps_were() -> None:
    found = bars(draw(report(step("swap", 10.0, 20.0, stop=6.0, put_back=10.0), step("bake", 30.0, 5.0, "skipped"))))
    assert set(found) == {"lock: 1.0 s", "swap: 20.0 s", "stop: 6.0 s", "put back: 10.0 s"}
    assert found["swap: 20.0 s"] == pytest.approx((10, 20), abs=0.1)
    # What comes before the parts is the call itself.
    assert found["stop: 6.0 s"] == pytest.approx((14, 6), abs=0.1)
    assert found["put back: 10.0 s"] == pytest.approx((20, 10), abs=0.1)


def test_it_says_what_happened() -> None:
    picture = draw(report(step("swap", 10.0, 20.0, "failed")), "0 of 10 failed")
    texts = [text.text for text in ElementTree.fromstring(picture).iter(f"{SVG}text")]
    assert texts[:2] == ["Rolling update to v2: 1 hosts in 100 s, succeeded", "0 of 10 failed"]
    assert "leadership: b → <a>" in texts
    assert 'class="bar failed"' in picture


def test_the_picture_of_the_documentation_is_one() -> None:
    picture = ElementTree.parse(CHECKOUT / "docs" / "rollout.svg").getroot()
    assert picture.tag == f"{SVG}svg"
    assert len(bars(ElementTree.tostring(picture, "unicode"))) > 10
