"""Mutated requests: only complete, valid ones reach a backend, none without its token.

`FUZZ_REQUESTS=100000` (`make fuzz`) is the long run, `FUZZ_SEED` another one; the seed is in the message of a failure.
"""

from __future__ import annotations

import concurrent.futures
import os
import re
import socket
from collections import Counter
from random import Random
from typing import TYPE_CHECKING

from support.h2wire import H2Wire
from untrusted.corpus import SECRET
from untrusted.mutator import mutant, mutant_headers
from untrusted.readings import readings, route

if TYPE_CHECKING:
    from untrusted.guarded import Guarded

REQUESTS = int(os.environ.get("FUZZ_REQUESTS", "8000"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
CLIENTS = 4
PIPELINED = 4

_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3}) ")


def attack(port: int, random: Random) -> Counter[str]:
    """Send some on one connection and return the statuses that came back."""
    raw = b"".join(mutant(random) for _ in range(random.randint(1, PIPELINED)))
    cut = random.randrange(len(raw) + 1) if random.random() < 0.3 else len(raw)
    answer = bytearray()
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        try:
            connection.sendall(raw[:cut])
            connection.sendall(raw[cut:])
            connection.shutdown(socket.SHUT_WR)
            while data := connection.recv(65536):
                answer += data
        except TimeoutError:
            raise
        except OSError:
            pass  # it was refused before it was sent
    return Counter(status.decode() for status in _STATUS.findall(answer))


def client(port: int, seed: str, wanted: int) -> Counter[str]:
    random = Random(seed)
    answers: Counter[str] = Counter()
    while answers.total() < wanted:
        answers += attack(port, random)
    return answers


def assert_plain(guarded: Guarded) -> None:
    """Only whole requests of their own route reached the backends, each seen by the gateway."""
    assert not guarded.secret.targets, f"seed {SEED}: no request has a token"
    ids: Counter[bytes | None] = Counter()
    for backend, prefix in ((guarded.users, "/api/users"), (guarded.other, "/api")):
        assert not backend.violations, f"seed {SEED}"
        assert not backend.tunnelled, f"seed {SEED}"
        for request in backend.requests:
            assert {route(reading) for reading in readings(request.path)} == {prefix}, f"seed {SEED}: {request}"
            ids[request.get("x-request-id")] += 1
    # It made an id for each, and for it alone.
    assert None not in ids, f"seed {SEED}"
    assert b"theirs" not in ids, f"seed {SEED}"
    assert set(ids.values()) == {1}, f"seed {SEED}"


def test_fuzzed_requests(guarded: Guarded) -> None:
    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        futures = [
            pool.submit(client, guarded.port, f"{SEED}/{number}", REQUESTS // CLIENTS) for number in range(CLIENTS)
        ]
        answers = sum((future.result() for future in futures), Counter[str]())
    print(f"seed {SEED}: {dict(sorted(answers.items()))}")  # noqa: T201
    assert guarded.gateway.status("/api/users/2") == 200
    assert_plain(guarded)
    assert answers["200"] > REQUESTS / 20, "hardly any got through: this proves nothing"
    assert not [status for status in answers if status.startswith("5") and status != "501"], f"seed {SEED}: {answers}"


def test_fuzzed_requests_of_http2(guarded: Guarded) -> None:
    random = Random(f"{SEED}/h2")
    answers: Counter[int] = Counter()
    while answers.total() < REQUESTS // 20:
        with H2Wire(guarded.port) as wire:
            # A connection goes on until it is ended.
            while answers.total() < REQUESTS // 20:
                outcome = wire.ask(mutant_headers(random), random.choice((None, None, b"", b"hello", SECRET)))
                answers[outcome.status] += 1
                if not outcome.status:
                    break
    print(f"seed {SEED}, HTTP/2: {dict(sorted(answers.items()))}")  # noqa: T201
    guarded.settle()
    assert_plain(guarded)
    assert answers[200] > answers.total() / 20
    assert not [status for status in answers if status >= 500], f"seed {SEED}: {answers}"
