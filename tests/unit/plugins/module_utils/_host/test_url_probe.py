# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import socket
import threading

import pytest

from ansible_collections.evenkeel.fleet.plugins.module_utils._ecs.probe import ProbeTarget, problems
from ansible_collections.evenkeel.fleet.plugins.module_utils._host.url_probe import ask, status_of

GOOD, BAD, SILENT = "http://inside:1/health", "http://inside:2/health", "http://inside:3/health"


def fetch(url: str, timeout: float) -> int:
    assert timeout == 5
    if url == SILENT:
        raise ConnectionRefusedError(111, "Connection refused")
    return 200 if url == GOOD else 503


def test_a_line_for_each_request_with_status_and_seconds() -> None:
    ticks = iter(range(100))
    lines = ask([GOOD, BAD, SILENT], 2, 5, fetch=fetch, clock=lambda: next(ticks) / 10)
    assert lines[:4] == ["probe 0 200 0.1000", "probe 0 200 0.1000", "probe 1 503 0.1000", "probe 1 503 0.1000"]
    assert lines[4:6] == ["probe-error 2 ConnectionRefusedError [Errno 111] Connection refused", "probe 2 000 0.1000"]


@pytest.mark.parametrize(("url", "words"), [(BAD, "status 503"), (SILENT, "Connection refused")])
def test_they_are_judged_as_the_lines_of_a_task(url: str, words: str) -> None:
    targets = [ProbeTarget("users", GOOD), ProbeTarget("orders", url)]
    [found] = problems(ask([GOOD, url], 3, 5, fetch=fetch), targets, 3)
    assert found.startswith(f"orders: 3 of 3 requests to {url} failed") and words in found


@pytest.mark.parametrize("status", [200, 503])
def test_an_answer_is_complete_though_the_service_keeps_the_connection_open(status: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _address = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(f"HTTP/1.1 {status} Status\r\nContent-Length: 2\r\n\r\nok".encode())
                # Until the client closes it.
                connection.recv(1)

        threading.Thread(target=serve, daemon=True).start()
        assert status_of(f"http://127.0.0.1:{listener.getsockname()[1]}/health", 5) == status
