# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the benchmark of the gateway concludes from what it measured, and how it recognizes features."""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from tests.bench.gateway import opponents, probes, report
from tests.bench.gateway.figures import Flood, Sample, Saturation, Series, dearest
from tests.bench.gateway.load import Outcome
from tests.bench.gateway.machine import BenchError
from tests.bench.gateway.opponents import ABILITIES, OPPONENTS, OURS, Opponent
from tests.bench.gateway.targets import HERE, Bench, Target, token
from tests.checkout.support import CHECKOUT


def target(name: str) -> Target:
    return Target(name, 1, [], running=None)  # type: ignore[arg-type]


def series(name: str, *microseconds: float) -> Series:
    outcome = Outcome(1, 1, Counter({200: 1}), [1.0])
    return Series(target(name), [Sample(outcome, {name: used}, {}) for used in microseconds])


def used(sample: Sample) -> float:
    return sample.total


def test_the_dearest_ratio_is_to_the_cheapest_of_the_others() -> None:
    found, other = dearest(series("ours", 30, 30, 60), [series("slow", 90, 90, 90), series("fast", 40, 40, 80)], used)
    assert (found, other.target.name) == (0.75, "fast")


def test_a_disturbed_round_does_not_change_the_ratio_of_requests_per_core() -> None:
    ours = Saturation(target("ours"), [Flood(100, 500), Flood(20, 100), Flood(100, 500)])
    bare = Saturation(target("bare"), [Flood(200, 1000), Flood(40, 200), Flood(200, 1000)])
    assert ours.to(bare) == 0.5
    assert (ours.rate, ours.per_core) == (100, 500)


def test_saturation_table_begins_with_the_most_requests_per_core() -> None:
    bare = Saturation(target("bare"), [Flood(200, 1000)])
    rows = report.saturation_table([Saturation(target("ours"), [Flood(100, 2000)]), bare], bare).splitlines()[2:]
    assert [row.split("|")[1].strip() for row in rows] == ["ours", "bare"]
    assert rows[0].split("|")[4].strip() == "2.00"


def test_the_table_of_abilities_has_the_reason_for_each_no() -> None:
    text = report.abilities_table(["one", "two"], {"two": {"jwt": "not in this edition"}})
    rows = {row.split("|")[1].strip(): row for row in text.splitlines() if row.startswith("| ")}
    assert rows["one"].count("yes") == len(ABILITIES)
    assert (rows["two"].count("yes"), rows["two"].count(" no ")) == (len(ABILITIES) - 1, 1)
    assert "- two, JWT: not in this edition" in text


@pytest.mark.parametrize(
    "line",
    [
        {"path": "/api/bench/item", "status": 200},
        {"request": {"uri": "/api/bench/item"}, "status": 200},
        {"RequestPath": "/api/bench/item", "status": "200"},
    ],
)
def test_a_line_of_an_access_log_is_found(tmp_path: Path, line: dict[str, object]) -> None:
    log = tmp_path / "log"
    log.write_text(f"started\n{json.dumps(line)}\n")
    assert probes.has_log_line(log, "/api/bench/item")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "GET /api/bench/item 200\n",
        '{"path":"/other","status":200}\n',
        '{"path":"/api/bench/item","status":401}\n',
        '{"path":"/api/bench/item","status":200\n',
    ],
)
def test_what_is_no_line_of_an_access_log(tmp_path: Path, text: str) -> None:
    log = tmp_path / "log"
    log.write_text(text)
    assert not probes.has_log_line(log, "/api/bench/item")
    assert not probes.has_log_line(None, "/api/bench/item")


def test_a_histogram_counts_only_with_an_observation() -> None:
    assert probes.has_histogram('# TYPE a histogram\na_bucket{le="0.1"} 0\na_bucket{le="+Inf"} 2\n')
    assert not probes.has_histogram('a_bucket{le="0.1"} 3\na_bucket{le="+Inf"} 0\n')
    assert not probes.has_histogram("requests_total 7\n# a_bucket{} no figures\n")


class Works:
    """Stands for requests: tells that these features work."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *abilities: str) -> None:
        found = {ability: ability in abilities for ability in ABILITIES}
        monkeypatch.setattr(probes, "works", lambda *_: found)


def opponent(**lacks: str) -> Opponent:
    return Opponent("one", lambda *_: target("one"), lambda: None, lacks)


def test_a_feature_that_does_not_work_fails_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    Works(monkeypatch, *(ability for ability in ABILITIES if ability != "limit"))
    with pytest.raises(BenchError, match="one has limit, but that does not work"):
        probes.probe(cast(Bench, None), opponent())


def test_a_feature_that_works_against_the_table_fails_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    Works(monkeypatch, *ABILITIES)
    with pytest.raises(BenchError, match="one lacks jwt, but that works"):
        probes.probe(cast(Bench, None), opponent(jwt="why"))


def test_features_as_they_are_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    Works(monkeypatch, *(ability for ability in ABILITIES if ability != "shared"))
    probes.probe(cast(Bench, None), opponent(shared="why"))


def test_the_opponents_have_names_of_their_own_and_lack_known_features() -> None:
    names = [each.name for each in (OURS, *OPPONENTS)]
    assert len(set(names)) == len(names)
    assert not OURS.lacks
    for each in OPPONENTS:
        assert set(each.lacks) <= set(ABILITIES)


@pytest.mark.parametrize("name", ["envoy", "caddy", "traefik"])
def test_a_wheel_is_pinned_by_its_digest(name: str) -> None:
    text = (HERE / name / "requirements.txt").read_text()
    assert re.fullmatch(r"[a-z-]+==[0-9.]+( \\\n    --hash=sha256:[0-9a-f]{64})+\n", text)


def test_the_lua_packages_are_those_that_make_installs() -> None:
    makefile = (CHECKOUT / "Makefile").read_text()
    for package in ("libnginx-mod-http-lua", "lua-nginx-redis", "lua-luaossl", "lua-resty-lrucache"):
        assert package in makefile


def test_an_opponent_that_cannot_be_installed_is_left_out() -> None:
    def absent() -> None:
        raise BenchError("no such package")

    here = opponent()
    found, left_out = opponents.installed([here, replace(here, name="gone", prepare=absent)])
    assert (found, left_out) == ([here], {"gone": "no such package"})


def test_a_lua_package_that_is_missing_is_named(tmp_path: Path) -> None:
    for name in opponents.LUA_FILES:
        path = tmp_path / name.replace("*", "x86_64-linux-gnu")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    opponents.lua_packages(tmp_path)
    (tmp_path / "usr/share/lua/5.1/nginx/redis.lua").unlink()
    with pytest.raises(BenchError, match=r"lack usr/share/lua/5\.1/nginx/redis\.lua"):
        opponents.lua_packages(tmp_path)


def test_a_token_may_have_expired() -> None:
    def expires(lifetime: int) -> int:
        text = token("secret", "user", lifetime).split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        return int(claims["exp"]) - int(claims["iat"])

    assert (expires(60), expires(-3600)) == (60, -3600)
