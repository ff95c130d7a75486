"""How far a fleet can exceed a limit: a model of HAProxy's rules with a simulated clock, and a real Redis.

The whole fleet takes seconds for each seed; this takes a moment, so that many shapes of traffic can be tried.
"""

from __future__ import annotations

import heapq
import itertools
import os
import random
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import evenkeel_gateway.limits
from evenkeel_gateway.limits.ledger import Count, Ledger
from evenkeel_gateway.limits.settlement import share
from evenkeel_gateway.settings import Settings
from support.redis import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis

pytestmark = pytest.mark.anyio

ADMIT = (Path(evenkeel_gateway.limits.__file__).parent / "scripts" / "admit.lua").read_text()
NAME = "client:1/192.0.2.1"
SECONDS = 600
TICK = 0.25
ANSWER = 0.003
MODELS = int(os.environ.get("LIMIT_MODELS", "10"))
_numbers = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


class Shape(NamedTuple):
    gateways: int
    limit: int
    rate: float


class Gateway:
    """What limits.cfg.j2 does with one client, and what the settlement does with it."""

    def __init__(self, name: str, shape: Shape, ledger: Ledger, client: redis.Redis, prefix: str) -> None:
        self.name, self.shape, self.ledger, self.client, self.prefix = name, shape, ledger, client, prefix
        self.own = self.others = self.may = self.told = self.cursor = 0
        self.default = 1
        self.epoch = 0
        self.live = 0
        self.reads: tuple[int, bool] = (0, False)

    def ticket(self) -> tuple[str, int]:
        """Return refused, admitted or asks, with the ticket."""
        if self.own + self.others >= self.shape.limit or self.may < 0:
            return "refused", 0
        self.own += 1
        return ("asks" if self.own >= (self.may or self.default) else "admitted"), self.own

    def ask(self, ticket: int) -> bool:
        keys = [self.prefix + name for name in ("epoch", "live", "hot", NAME)]
        answer: Any = self.client.eval(
            ADMIT, 4, *keys, self.epoch or "", self.name, ticket, self.shape.limit, SECONDS * 1000, NAME
        )
        assert answer[0] in (0, 1)
        self.may = answer[1] + 1 if answer[0] else -1
        return bool(answer[0])

    async def settle(self, seen: int) -> Callable[[], None]:
        """Return what is to be done when the answer has come."""
        counts = [Count(NAME, seen, self.shape.limit, SECONDS)] if seen > self.told else []
        settled = await self.ledger.settle(self.name, self.epoch, self.cursor, counts)

        def take() -> None:
            self.epoch, self.cursor, self.live = settled.epoch, settled.cursor, settled.live
            self.default = 1 + share(self.shape.limit, self.shape.limit, self.live)
            self.told = max(self.told, seen) if counts else self.told
            others = dict(settled.hot).get(NAME) if not counts else settled.others[0]
            if others is not None:
                self.others = others
                if self.may >= 0:
                    self.may = 1 + self.told + share(self.shape.limit, self.shape.limit - self.told - others, self.live)

        return take


def traffic(shape: Shape, chance: random.Random, end: float) -> Iterator[tuple[float, int]]:
    """Yield when which gateway gets a request; from time to time the client has other favourites."""
    weights = [chance.choice([1.0, 1.0, 0.1, 0.02]) for _ in range(shape.gateways)]
    at, change = 0.0, chance.uniform(0.05, 0.6)
    while at < end:
        at += chance.expovariate(shape.rate)
        if at > change:
            chance.shuffle(weights)
            change = at + chance.uniform(0.05, 0.6)
        yield at, chance.choices(range(shape.gateways), weights)[0]


async def running(shape: Shape, ledger: Ledger, client: redis.Redis, prefix: str) -> list[Gateway]:
    """Return gateways that know of each other."""
    fleet = [Gateway(f"g{number}", shape, ledger, client, prefix) for number in range(shape.gateways)]
    for gateway in [*fleet, *fleet]:
        (await gateway.settle(0))()
    return fleet


async def simulate(shape: Shape, seed: int, ledger: Ledger, client: redis.Redis, prefix: str) -> tuple[int, int]:
    """Return how many requests were admitted, and how many of them Redis was asked about."""
    chance = random.Random(seed)
    fleet = await running(shape, ledger, client, prefix)
    order = itertools.count()
    events: list[tuple[float, int, str, Gateway, Any]] = []

    def plan(at: float, what: str, gateway: Gateway, value: Any = None) -> None:
        heapq.heappush(events, (at, next(order), what, gateway, value))

    for gateway in fleet:
        plan(chance.uniform(0, TICK), "tick", gateway)
    end = 3.0 * shape.limit / shape.rate + 1
    for at, number in traffic(shape, chance, end):
        plan(at, "request", fleet[number])
    found: Counter[str] = Counter()
    while events:
        now, _, what, gateway, value = heapq.heappop(events)
        if what == "request":
            verdict, ticket = gateway.ticket()
            found[verdict] += 1
            if verdict == "asks":
                plan(now + ANSWER * chance.random(), "question", gateway, ticket)
        elif what == "question":
            found["admitted" if gateway.ask(value) else "refused"] += 1
        elif what == "tick":
            take = await gateway.settle(gateway.own)
            plan(now + ANSWER * chance.random(), "settled", gateway, take)
            if now < end:
                plan(now + TICK * chance.uniform(0.9, 1.1), "tick", gateway)
        else:
            value()
    return found["admitted"], found["asks"]


@pytest.mark.parametrize(
    "shape",
    [
        Shape(3, 100, 200),
        Shape(3, 100, 20),
        Shape(3, 1000, 500),
        Shape(6, 100, 200),
        Shape(2, 10, 50),
        Shape(3, 100, 5000),
    ],
    ids=str,
)
async def test_the_bound(shape: Shape, server: RedisServer, environment: Callable[..., None]) -> None:
    environment(REDIS_HOST="127.0.0.1", REDIS_PORT=str(server.port), RATE_LIMIT_CLIENT_SECONDS=str(SECONDS))
    found = []
    for seed in range(MODELS):
        prefix = f"model-{next(_numbers)}:"
        settings = Settings().model_copy(update={"redis_prefix": prefix})
        assert settings.redis
        ledger = Ledger(settings, settings.redis, None)
        client = server.client
        found.append(await simulate(shape, seed, ledger, client, prefix))
        await ledger.close()
        client.close()
    admitted = sorted(count for count, _ in found)
    assert admitted[0] >= shape.limit
    assert admitted[-1] <= shape.limit + max(shape.gateways - 1, shape.limit // 10)


async def test_alone_nobody_is_asked(server: RedisServer, environment: Callable[..., None]) -> None:
    environment(REDIS_HOST="127.0.0.1", REDIS_PORT=str(server.port), REDIS_PREFIX="alone:")
    settings = Settings()
    assert settings.redis
    ledger = Ledger(settings, settings.redis, None)
    assert await simulate(Shape(1, 100, 200), 1, ledger, server.client, "alone:") == (100, 0)
    await ledger.close()
