# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A serving fleet is updated to another image."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

from tests.system.fleet import wait_until
from tests.system.load import Watch
from tests.system.rollouts import (
    digest,
    digests,
    hooks,
    nobody_notices,
    order,
    reports,
    roll,
    start,
)

if TYPE_CHECKING:
    from tests.system.fleet import Fleet


def test_nobody_notices_an_update(serving: Fleet, images: tuple[str, str]) -> None:
    first = order(serving)[-1]
    reports(serving)  # of those before
    with nobody_notices(serving, rate=100), Watch(serving.leaders) as watch:
        process = start(serving, gateway_image=images[1])
        wait_until(lambda: bool(serving.out_of_the_balancer()), "the first host is drained")
        with serving.untouched(first):
            second = roll(serving, gateway_image=images[0])
        run = process.wait()
    assert second.code != 0
    assert second.says("The fleet is locked by", images[1])
    assert run.code == 0, run.output
    assert digests(serving) == {digest(images[1])}
    assert watch.most_at_once == 1, "never do two lead"
    assert watch.changes == 1, "leadership moves once"
    assert serving.leaders() != [first]
    serving.assert_serving()
    [of_the_first] = reports(serving)  # the second was refused before it began
    assert of_the_first["result"] == "succeeded"
    assert [step["step"] for step in of_the_first["fleet_steps"]] == ["lock", "handover", "unlock"]
    assert {host["name"]: host["state"] for host in of_the_first["hosts"]} == dict.fromkeys(serving.hosts, "done")
    for host in of_the_first["hosts"]:
        assert set(host["waits"]) == {"permit", "drain", "swap", "admit", "bake"}
        assert 2 <= host["waits_seconds"] < host["seconds"]

    with serving.untouched(*serving.hosts):
        again = roll(serving, gateway_image=images[1])
    assert again.code == 0, again.output
    assert again.changed() <= {"host-1"}, "it has nothing to do but to write its journal"


def test_check_mode_shows_the_plan_and_touches_nothing(serving: Fleet, images: tuple[str, str]) -> None:
    leader = order(serving)[-1]
    with serving.untouched(*serving.hosts):
        run = roll(serving, "--check", gateway_image=images[1])
    assert run.code == 0, run.output
    assert run.says(f"hand leadership over from {leader}", f"update {leader} (the leader, last)")


def test_a_tag_means_one_digest_and_settings_are_rolled_out_as_well(serving: Fleet, images: tuple[str, str]) -> None:
    """The image of now by a tag, with another setting: only --limit's host gets it, by digest."""
    follower = order(serving)[0]
    tagged = images[0].partition("@")[0] + ":latest"
    serving.on(follower, f"docker tag {images[0]} {tagged} && docker push {tagged} && docker rmi -f {tagged}")
    messages: list[dict[str, str]] = []
    with webhook(messages) as url, nobody_notices(serving):
        run = roll(
            serving,
            *("--limit", follower),
            gateway_image=tagged,
            gateway_memory="300m",
            rollout_pause_after=[1],
            rollout_pause_seconds=1,
            rollout_webhook_url=url,
            rollout_hooks={"before_batch": ["webhook.yml"], "after_rollout": ["webhook.yml"]},
        )
    assert run.code == 0, run.output
    gateway = serving.gateway(follower)
    assert gateway["Config"]["Image"] == images[0]
    assert gateway["HostConfig"]["Memory"] == 300 << 20
    assert [message["text"] for message in messages] == [
        f"{tagged}: before batch of {follower}",
        f"{tagged}: after rollout, succeeded. Updated: 1. Already on the image: 0.",
    ]
    assert url not in run.output, "anyone who knows the URL may post there"
    assert roll(serving, "--limit", follower, gateway_image=images[0]).code == 0


def test_a_rollout_by_limit_keeps_the_leader_for_last(serving: Fleet, images: tuple[str, str]) -> None:
    *_others, leader = order(serving)
    with serving.untouched(*serving.hosts):
        run = roll(serving, "--limit", leader, gateway_image=images[1])
    assert run.code != 0
    assert run.says("Nothing was changed.", f"{leader} leads, and no updated host can take over")


def test_leadership_that_moves_meanwhile_puts_its_host_off(serving: Fleet, images: tuple[str, str]) -> None:
    second = order(serving)[1]
    with nobody_notices(serving), Watch(serving.leaders) as watch:
        moves = hooks("before_host", "leader_moves.yml", happens_to=second)
        run = roll(serving, gateway_image=images[1], **moves)
    assert run.code == 0, run.output
    assert digests(serving) == {digest(images[1])}
    assert watch.most_at_once == 1
    assert watch.changes == 2, "once by another operator, once by the rollout"
    serving.assert_serving()


@contextmanager
def webhook(messages: list[dict[str, str]]) -> Iterator[str]:
    """A server that keeps what is posted to it."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Silent."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/services/T000/secret-of-the-hook"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_who_waits_in_line_sees_what_those_before_did(serving: Fleet, images: tuple[str, str]) -> None:
    host = order(serving)[0]
    first = start(serving, "--limit", host, gateway_image=images[1])
    held = "SELECT count(*) FROM fleet_rollout WHERE finished_at IS NULL"
    wait_until(lambda: serving.sql(held) == "1", "the first rollout has the lock")
    second = roll(serving, "--limit", host, gateway_image=images[0], rollout_lock_wait=120)
    for run in (first.wait(), second):
        assert run.code == 0, run.output
    assert digests(serving, host) == {digest(images[0])}
    last = "step = 'plan' AND rollout_id = (SELECT max(id) FROM fleet_rollout)"
    assert serving.sql(f"SELECT digest FROM fleet_rollout_step WHERE {last}") == digest(images[1])
