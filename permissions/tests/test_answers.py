"""Cached answers: never those of before a change, whatever happens in between and whatever the cache does."""

from __future__ import annotations

import random
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from support.redis import SlowLink

from evenkeel_permissions import database, migrations, permissions
from evenkeel_permissions.api.process import cache
from evenkeel_permissions.api.service import Service
from evenkeel_permissions.cache import Cache, CacheError
from evenkeel_permissions.outbox import Outbox
from evenkeel_permissions.pool import Pool
from evenkeel_permissions.settings import ApiSettings
from helpers.tokens import TOKENS
from helpers.upstash import TOKEN, Upstash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.redis import RedisServer

    from evenkeel_permissions.database import Connection

    Make = Callable[..., Service]


@pytest.fixture
def settings(conninfo: str, redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ApiSettings]:
    with database.connect(conninfo, "test") as connection:
        migrations.migrate(connection)

    def make(**environment: str) -> ApiSettings:
        defaults = {
            "EPR_DATABASE_URL": conninfo,
            "EPR_API_TOKENS": TOKENS,
            "EPR_REDIS_URL": f"redis://127.0.0.1:{redis.port}/0",
            "EPR_REDIS_TIMEOUT_SECONDS": "1",
        }
        for name, value in (defaults | environment).items():
            monkeypatch.setenv(name, value)
        return ApiSettings()  # type: ignore[call-arg]

    return make


@pytest.fixture
def make(settings: Callable[..., ApiSettings]) -> Iterator[Make]:
    """Make a service, as each process of the API has one."""
    pools: list[Pool] = []

    def service(cached: Cache | None = None, **environment: str) -> Service:
        read = settings(**environment)
        pool = Pool(read)
        pool.open()
        pools.append(pool)
        return Service(pool, cached or cache(read), Outbox(document_vault=False), lambda: None)

    yield service
    for pool in pools:
        pool.close()


def entities(service: Service, *ids: str, parent: str | None = None) -> None:
    for id_ in ids:
        service.create("test", id_, "folder", id_, parent, {})


class Counted:
    """Counts the questions that the database answers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.before: Callable[[], None] = lambda: None
        self.after: Callable[[], None] = lambda: None
        for name in ("check", "allowed"):
            monkeypatch.setattr(permissions, name, self._counting(getattr(permissions, name)))

    def _counting(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def counting(connection: Connection, *arguments: Any) -> Any:
            self.count += 1
            self.before()
            found = original(connection, *arguments)
            self.after()
            return found

        return counting


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


@pytest.fixture(params=["redis", "rest"])
def service(request: pytest.FixtureRequest, make: Make, redis: RedisServer) -> Iterator[Service]:
    if request.param == "redis":
        yield make()
        return
    with Upstash(redis) as upstash:
        yield make(EPR_REDIS_URL=upstash.url, EPR_REDIS_TOKEN=TOKEN)
        assert {command[0] for command in upstash.commands} == {"GET", "SET"}


def test_answers_are_cached_with_prefix_and_time_to_live(service: Service, asked: Counted, redis: RedisServer) -> None:
    entities(service, "a")
    service.grant("test", "zoe", "read", "a")
    for _ in range(3):
        assert service.check("zoe", "read", "a")
        assert service.allowed("zoe", "read", None, None, 10) == ["a"]
        assert not service.check("zoe", "write", "a")
    assert asked.count == 3
    keys = [str(key) for key in redis.client.scan_iter("*")]
    assert len(keys) == 3
    for key in keys:
        assert key.startswith("epr:")
        assert 0 < redis.client.ttl(key) <= 300
        # Not a word of hexadecimal digits, which keys are made of.
        assert "zoe" not in key, "keys name no subject"


def test_each_change_is_seen_by_the_next_question(service: Service) -> None:
    entities(service, "root", "other")
    entities(service, "leaf", parent="root")

    def answers() -> tuple[bool, list[str]]:
        return service.check("ada", "read", "leaf"), service.allowed("ada", "read", None, None, 10)

    assert answers() == (False, [])
    service.grant("test", "ada", "read", "root")
    assert answers() == (True, ["leaf", "root"])
    service.update("test", "leaf", {"parent": "other"})
    assert answers() == (False, ["root"])
    service.update("test", "leaf", {"parent": "root"})
    assert answers() == (True, ["leaf", "root"])
    entities(service, "new", parent="leaf")
    assert answers() == (True, ["leaf", "new", "root"])
    service.delete("test", "new")
    service.revoke("test", "ada", "read", "root")
    assert answers() == (False, [])


def test_a_change_of_one_subject_keeps_the_answers_of_others(service: Service, asked: Counted) -> None:
    entities(service, "a")
    service.check("ada", "read", "a")
    service.grant("test", "bob", "read", "a")
    service.check("ada", "read", "a")
    assert asked.count == 1


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_reader_that_is_overtaken_by_a_change(service: Service, asked: Counted, moment: str) -> None:
    """It has read the database before or after the commit, and fills the cache when the change is done."""
    entities(service, "a")
    service.grant("test", "ada", "read", "a")
    reached, go = threading.Event(), threading.Event()

    def pause() -> None:
        setattr(asked, moment, lambda: None)
        reached.set()
        assert go.wait(10)

    setattr(asked, moment, pause)
    seen: list[bool] = []
    reader = threading.Thread(target=lambda: seen.append(service.check("ada", "read", "a")))
    reader.start()
    assert reached.wait(10)
    service.revoke("test", "ada", "read", "a")
    go.set()
    reader.join()
    assert seen == [moment == "after"], "either answer is right for a question during the change"
    assert service.check("ada", "read", "a") is False
    assert service.check("ada", "read", "a") is False


def test_a_reader_that_begins_before_the_commit(service: Service, asked: Counted, conninfo: str) -> None:
    """The change is made but not committed: the reader sees and caches the state before, which ends with the commit."""
    entities(service, "a")
    service.grant("test", "ada", "read", "a")
    with psycopg.connect(conninfo) as connection:
        permissions.revoke(connection, "ada", "read", "a")
        assert service.check("ada", "read", "a") is True
        assert service.check("ada", "read", "a") is True
        assert asked.count == 1, "it is cached"
    assert service.check("ada", "read", "a") is False


def test_a_change_that_is_rolled_back_changes_no_answer(service: Service, conninfo: str) -> None:
    entities(service, "a")
    service.grant("test", "ada", "read", "a")
    with psycopg.connect(conninfo) as connection:
        permissions.revoke(connection, "ada", "read", "a")
        connection.rollback()
    assert service.check("ada", "read", "a") is True


def test_a_change_by_a_process_without_the_cache(make: Make) -> None:
    """Its Redis is unreachable, or it is killed right after the commit: nobody has to tell the others."""
    reader, writer = make(), make(EPR_REDIS_URL="redis://127.0.0.1:1/0")
    entities(writer, "a")
    writer.grant("test", "ada", "read", "a")
    assert reader.check("ada", "read", "a")
    writer.revoke("test", "ada", "read", "a")
    assert not reader.check("ada", "read", "a")


def test_readers_and_writers_at_once(make: Make) -> None:
    """A question that begins after a change has returned sees it, whoever fills the cache meanwhile."""
    services = [make() for _ in range(2)]
    entities(services[0], "a")
    stop = threading.Event()
    wrong: list[str] = []

    def read(service: Service) -> None:
        while not stop.is_set():
            service.check("ada", "read", "a")

    readers = [threading.Thread(target=read, args=(service,)) for service in services * 2]
    for thread in readers:
        thread.start()
    for turn in range(40):
        writer, other = services[turn % 2], services[(turn + 1) % 2]
        granted = turn % 2 == 0
        (writer.grant if granted else writer.revoke)("test", "ada", "read", "a")
        wrong += [f"turn {turn}" for service in (other, writer) if service.check("ada", "read", "a") is not granted]
    stop.set()
    for thread in readers:
        thread.join()
    assert wrong == []


def test_a_dead_cache_is_no_error(service: Service, redis: RedisServer, asked: Counted) -> None:
    entities(service, "a")
    service.grant("test", "ada", "read", "a")
    assert service.check("ada", "read", "a")
    redis.kill()
    service.revoke("test", "ada", "read", "a")
    assert not service.check("ada", "read", "a")
    service.grant("test", "ada", "read", "a")
    assert service.check("ada", "read", "a")
    redis.start()


@pytest.mark.parametrize("failure", ["frozen", "full", "wrong type", "rubbish"])
def test_a_cache_that_misbehaves_is_no_error(make: Make, redis: RedisServer, failure: str) -> None:
    service = make(EPR_REDIS_TIMEOUT_SECONDS="0.1")
    entities(service, "a")
    service.grant("test", "ada", "read", "a")
    assert service.check("ada", "read", "a")
    client = redis.client
    if failure == "frozen":
        redis.signal(signal.SIGSTOP)
    elif failure == "full":
        client.config_set("maxmemory", "1")
    for key in list(client.scan_iter("*")) if failure in ("wrong type", "rubbish") else ():
        client.delete(key)
        if failure == "rubbish":
            client.set(key, "{rubbish")
        else:
            client.lpush(key, "x")
    assert service.check("ada", "read", "a")
    assert service.allowed("ada", "read", None, None, 10) == ["a"]
    service.revoke("test", "ada", "read", "a")
    assert not service.check("ada", "read", "a")


def test_a_cache_that_failed_is_left_alone_for_a_second() -> None:
    class Failing:
        calls = 0

        def get(self, key: str) -> str | None:
            self.calls += 1
            raise CacheError("away")

        def set(self, key: str, value: str, seconds: int) -> None:
            self.calls += 1

    now = 0.0
    backend = Failing()
    cached = Cache(backend, "epr", 300, lambda: now)
    for _ in range(5):
        assert cached.get("a") is None
        cached.set("a", "1")
    assert backend.calls == 1
    now = 1.1
    cached.get("a")
    assert backend.calls == 2


def test_a_slow_cache_slows_few_questions(make: Make, redis: RedisServer) -> None:
    with SlowLink(redis.port) as link:
        service = make(EPR_REDIS_URL=f"redis://127.0.0.1:{link.port}/0", EPR_REDIS_TIMEOUT_SECONDS="0.1")
        entities(service, "a")
        service.check("ada", "read", "a")
        link.hold_back(30)
        before = time.monotonic()
        for _ in range(50):
            assert not service.check("ada", "read", "a")
        assert time.monotonic() - before < 25, "not one of them waits for the cache as long as it takes"


@pytest.mark.parametrize("seed", range(3))
def test_answers_agree_with_a_model(make: Make, seed: int) -> None:  # noqa: C901  a branch for each change
    """Random changes on two processes, each followed by questions to both."""
    chance = random.Random(seed)
    services = [make(), make()]
    parents: dict[str, str | None] = {}
    granted: set[tuple[str, str]] = set()

    def above(id_: str | None) -> list[str]:
        found = []
        while id_ is not None:
            found.append(id_)
            id_ = parents[id_]
        return found

    for turn in range(120):
        service = chance.choice(services)
        ids = sorted(parents)
        kind = chance.choice(["create", "grant", "revoke", "move", "delete"]) if len(ids) > 3 else "create"
        id_ = chance.choice(ids) if ids else ""
        subject = chance.choice(["ada", "bob"])
        if kind == "create":
            parent = chance.choice([None, *ids])
            entities(service, f"e{turn}", parent=parent)
            parents[f"e{turn}"] = parent
        elif kind == "grant":
            service.grant("test", subject, "read", id_)
            granted.add((subject, id_))
        elif kind == "revoke" and granted:
            subject, id_ = chance.choice(sorted(granted))
            service.revoke("test", subject, "read", id_)
            granted.remove((subject, id_))
        elif kind == "move":
            parent = chance.choice([None, *ids])
            if id_ in above(parent):
                with pytest.raises(permissions.ConflictError):
                    service.update("test", id_, {"parent": parent})
            else:
                service.update("test", id_, {"parent": parent})
                parents[id_] = parent
        elif kind == "delete" and id_ not in parents.values():
            service.delete("test", id_)
            del parents[id_]
            granted = {(who, entity) for who, entity in granted if entity != id_}
        for asked_service in services:
            for who in ("ada", "bob"):
                right = sorted(one for one in parents if any((who, entity) in granted for entity in above(one)))
                assert sorted(asked_service.allowed(who, "read", None, None, 1000)) == right, turn
                one = chance.choice(sorted(parents))
                assert asked_service.check(who, "read", one) is (one in right), turn
