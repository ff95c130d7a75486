# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report in a real browser: how it looks, and that it needs no other file."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.evenkeel.fleet.plugins.plugin_utils._report.document import document
from ansible_collections.evenkeel.fleet.plugins.plugin_utils._report.html_page import Page
from tests.unit.plugins.plugin_utils._report.told import BEGAN, begun, recording, told, update

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
POLICY = re.compile(r"<meta http-equiv=\"Content-Security-Policy\".*")
# Runs in a copy of the page without its policy, and leaves what it measured in the document.
PROBE = """<pre id="probe"></pre><script>
const box = e => { const r = e.getBoundingClientRect(); return [r.left, r.top, r.width, r.height].map(Math.round) };
const rows = {};
for (const track of document.querySelectorAll('[data-row]')) {
  rows[track.dataset.row] = {box: box(track), bars: [...track.querySelectorAll('[data-step]')].map(bar => ({
    step: bar.dataset.step, box: box(bar), colour: getComputedStyle(bar).backgroundColor,
    parts: [...bar.querySelectorAll('[data-part]')].map(part => ({part: part.dataset.part, box: box(part),
      colour: getComputedStyle(part).backgroundColor}))}))};
}
document.getElementById('probe').textContent = JSON.stringify({
  rows, width: innerWidth, scrolls: document.documentElement.scrollWidth > innerWidth,
  page: getComputedStyle(document.body).backgroundColor, text: getComputedStyle(document.body).color,
  sections: [...document.querySelectorAll('section, header')].map(e => box(e)),
  logs: [...document.querySelectorAll('.failure pre')].map(e => e.textContent.length),
});
</script>"""


def chromium(url: Path, *arguments: str, profile: Path) -> subprocess.CompletedProcess[str]:
    assert CHROMIUM, "chromium is missing: tools/setup packages chromium"
    return subprocess.run(
        [
            CHROMIUM,
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
            *("--enable-logging=stderr", "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={profile}"),
            *arguments,
            url.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )


def rendered(name: str, finish: str | None = "") -> str:
    events = recording(name)
    return Page().render(document(told(events, finish=finish), 100.0, BEGAN))


def measured(tmp_path: Path, text: str, *arguments: str, width: int = 1280) -> dict[str, Any]:
    page = tmp_path / "probed.html"
    page.write_text(POLICY.sub("", text).replace("</body>", f"{PROBE}</body>"))
    done = chromium(page, f"--window-size={width},1000", "--dump-dom", *arguments, profile=tmp_path / "profile")
    found = re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found
    measures: dict[str, Any] = json.loads(found[1])
    return measures


@pytest.mark.parametrize("name", ["succeeded", "failed"])
def test_it_opens_without_a_complaint(tmp_path: Path, name: str) -> None:
    page, shot = tmp_path / "page.html", tmp_path / "shot.png"
    page.write_text(rendered(name))
    done = chromium(page, f"--screenshot={shot}", "--window-size=1280,1000", profile=tmp_path / "profile")
    assert "CONSOLE" not in done.stderr
    assert shot.stat().st_size > 10_000


def test_the_policy_of_the_page_stops_scripts(tmp_path: Path) -> None:
    """The complaint that the test above would see, and what would happen if escaping failed."""
    page = tmp_path / "page.html"
    page.write_text(rendered("succeeded").replace("</body>", "<script>document.title = 'run'</script></body>"))
    done = chromium(page, "--dump-dom", profile=tmp_path / "profile")
    assert "<title>run</title>" not in done.stdout
    assert "CONSOLE" in done.stderr


@pytest.mark.parametrize("width", [1280, 500])
def test_the_timeline_is_where_it_belongs(tmp_path: Path, width: int) -> None:
    measures = measured(tmp_path, rendered("succeeded"), width=width)
    assert not measures["scrolls"], "nothing sticks out sideways"
    assert list(measures["rows"]) == ["the fleet", "host-1", "host-2", "host-3"]
    bottom = 0
    for row in measures["rows"].values():
        left, top, wide, high = row["box"]
        assert top >= bottom
        assert wide > measures["width"] / 3
        bottom = top + high
        after = left
        for bar in row["bars"]:
            bar_left, bar_top, bar_wide, bar_high = bar["box"]
            assert after - 2 <= bar_left <= bar_left + bar_wide <= left + wide + 2
            assert (bar_top, bar_high) == (top, high)
            after = bar_left + bar_wide
            for part in bar["parts"]:
                assert bar_left - 1 <= part["box"][0] <= part["box"][0] + part["box"][2] <= after + 2
    first = measures["rows"]["host-2"]
    swap = next(bar for bar in first["bars"] if bar["step"] == "swap")
    assert [part["part"] for part in swap["parts"]] == ["create", "stop", "start", "gate"]
    assert len({part["colour"] for part in swap["parts"]}) == 4
    bake = next(bar for bar in first["bars"] if bar["step"] == "bake")
    # 3.95 of 80.7 seconds.
    assert bake["box"][2] == pytest.approx(first["box"][2] * 3.95 / 80.7, rel=0.3)


def test_light_and_dark(tmp_path: Path) -> None:
    def brightness(colour: str) -> float:
        return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3

    light = measured(tmp_path, rendered("failed"))
    dark = measured(tmp_path, rendered("failed"), "--blink-settings=preferredColorScheme=0")
    assert brightness(light["page"]) > 200 > 80 > brightness(light["text"])
    assert brightness(dark["page"]) < 80 < 200 < brightness(dark["text"])
    assert all(length > 100 for length in light["logs"])
    assert light["logs"]


def test_it_can_be_printed(tmp_path: Path) -> None:
    page, paper = tmp_path / "page.html", tmp_path / "page.pdf"
    page.write_text(rendered("failed"))
    chromium(page, f"--print-to-pdf={paper}", profile=tmp_path / "profile")
    assert paper.read_bytes().startswith(b"%PDF")


def test_what_strangers_say_stays_text(tmp_path: Path) -> None:
    evil = "</pre><script>document.title='run'</script><img src=x onerror=\"document.title='run'\">"
    tracker = told([*begun("a"), *update("a", 10.0, {"msg": evil, "log": [evil]}, "failed")])
    text = Page().render(document(tracker, 20.0, BEGAN))
    page = tmp_path / "page.html"
    page.write_text(POLICY.sub("", text))
    done = chromium(page, "--dump-dom", profile=tmp_path / "profile")
    assert "<title>run</title>" not in done.stdout
    assert "<title>Rollout 7 failed</title>" in done.stdout
