# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Broken images: the first host gets its old one back, the others are not changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.system.fleet import GATEWAY, wait_until
from tests.system.rollouts import digest, digests, hooks, nobody_notices, order, roll, start

if TYPE_CHECKING:
    from tests.system.fleet import Fleet, Run

CRASHES = 'ENTRYPOINT ["sh", "-c", "sleep 2; echo the licence has expired >&2; exit 7"]'
NEVER_HEALTHY = 'ENTRYPOINT ["sh", "-c", "echo waiting for a cache >&2; exec sleep 600"]'
NO_PROGRAM = """USER root
RUN head -c 4096 /dev/zero > /opt/gateway/program && chmod 755 /opt/gateway/program
USER gateway
ENTRYPOINT ["/opt/gateway/program"]"""


@pytest.mark.parametrize(
    ("dockerfile", "words", "variables"),
    [
        pytest.param(CRASHES, ["exit code 7", "the licence has expired"], {}, id="crashes after two seconds"),
        pytest.param("", ["3.0.0"], {"rollout_version": "3.0.0", "gateway_health_timeout": 12}, id="another version"),
        pytest.param(
            NEVER_HEALTHY,
            ["waiting for a cache"],
            {"gateway_health_timeout": 12},
            id="never healthy",
            marks=pytest.mark.weekly,
        ),
        pytest.param(
            NO_PROGRAM,
            ["can't execute its program"],
            {},
            id="not a program of this machine",
            marks=pytest.mark.weekly,
        ),
    ],
)
def test_a_bad_image(
    serving: Fleet, images: tuple[str, str], dockerfile: str, words: list[str], variables: dict[str, Any]
) -> None:
    first, *others = order(serving)
    image = made(serving, others[0], images[1], dockerfile) if dockerfile else images[1]
    with serving.untouched(*others), nobody_notices(serving):
        run = roll(serving, gateway_image=image, **variables)
    assert run.code != 0
    assert run.says(f"{first} failed", *words)
    assert_put_back(serving, run, first, images[0])


def test_a_gateway_that_turns_unhealthy_while_it_is_watched(serving: Fleet, images: tuple[str, str]) -> None:
    first, *others = order(serving)
    with serving.untouched(*others), nobody_notices(serving):
        process = start(serving, gateway_image=images[1], rollout_bake_seconds=30)
        wait_until(lambda: first in serving.out_of_the_balancer(), f"{first} is drained")
        wait_until(lambda: first not in serving.out_of_the_balancer(), f"{first} is back in the load balancer")
        assert digests(serving, first) == {digest(images[1])}
        serving.on(first, f"docker exec {GATEWAY} evenkeel-gateway drain")
        run = process.wait()
    assert run.code != 0
    assert run.says(f"{first} failed", "503")
    assert_put_back(serving, run, first, images[0])


@pytest.mark.parametrize(
    "fails", [pytest.param(1, id="the next one's"), pytest.param(0, id="its own", marks=pytest.mark.weekly)]
)
def test_settings_go_back_too_where_the_image_stays(serving: Fleet, images: tuple[str, str], fails: int) -> None:
    """A host gets its previous container back where a check after the swap fails, or that of a later host does."""
    hosts = order(serving)
    before = {host: serving.gateway(host)["Id"] for host in hosts}
    environment = {**serving.variables["gateway_environment"], "LOG_LEVEL": "debug"}
    settings: dict[str, Any] = {"gateway_environment": environment, "rollout_on_failure": "rollback_all"}
    check = hooks("after_host", "command.yml", happens="false", happens_to=hosts[fails])
    with nobody_notices(serving):
        run = roll(serving, gateway_image=images[0], **settings, **check)
    assert run.code != 0
    assert run.says(f"{hosts[fails]} failed")
    assert {host: serving.gateway(host)["Id"] for host in hosts} == before


def assert_put_back(fleet: Fleet, run: Run, first: str, image: str) -> None:
    others = sorted(set(fleet.hosts) - {first})
    assert run.says("Its previous image serves again", f"Not touched: {', '.join(others)}")
    assert digests(fleet) == {digest(image)}
    assert fleet.out_of_the_balancer() == []
    last = "(SELECT max(id) FROM fleet_rollout)"
    assert fleet.sql(f"SELECT result FROM fleet_rollout WHERE id = {last}") == "failed"
    failed = (
        f"SELECT DISTINCT host FROM fleet_rollout_step WHERE result = 'failed' AND host <> '*' AND rollout_id = {last}"
    )
    assert fleet.sql(failed) == first
    fleet.assert_serving()


def test_a_missing_image_touches_nothing(serving: Fleet, images: tuple[str, str]) -> None:
    missing = f"{images[0].partition('@')[0]}:no-such-tag"
    with serving.untouched(*serving.hosts):
        run = roll(serving, gateway_image=missing)
    assert run.code != 0
    assert run.says("Nothing was changed.", *(f"{host}: The image {missing} can't be pulled" for host in serving.hosts))


def made(fleet: Fleet, host: str, base: str, dockerfile: str) -> str:
    """Another image on top of `base`, in the registry, by its digest."""
    tag = f"{base.partition('@')[0]}:bad"
    fleet.on(host, f"docker build -q -t {tag} - && docker push -q {tag}", stdin=f"FROM {base}\n{dockerfile}\n")
    name = fleet.on(host, f"docker inspect -f '{{{{index .RepoDigests 0}}}}' {tag} && docker rmi -f {tag} >/dev/null")
    return name.strip()
