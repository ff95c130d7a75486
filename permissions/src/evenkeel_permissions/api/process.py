# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API's process."""

from __future__ import annotations

import logging
import signal
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import uvicorn

from evenkeel_permissions import aws, database, migrations
from evenkeel_permissions.api.app import application
from evenkeel_permissions.api.authentication import Authentication
from evenkeel_permissions.api.service import Service
from evenkeel_permissions.cache import Backend, Cache
from evenkeel_permissions.cache.resp import RespBackend
from evenkeel_permissions.cache.rest import RestBackend
from evenkeel_permissions.outbox import AUDIT, DOCUMENT_VAULT, Outbox
from evenkeel_permissions.pool import Pool
from evenkeel_permissions.publisher import Publisher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.applications import Starlette

    from evenkeel_permissions.settings import ApiSettings

log = logging.getLogger(__name__)

_PUBLISH_LAST = 5.0
_MIGRATE_EVERY = 2.0


def cache(settings: ApiSettings) -> Cache:
    backend: Backend | None = None
    if settings.redis_url:
        backend = RestBackend(settings) if settings.redis_rest else RespBackend(settings)
    return Cache(backend, settings.redis_cache_prefix, settings.redis_cache_ttl)


def topics(settings: ApiSettings) -> dict[str, str]:
    arns = {AUDIT: settings.audit_topic_arn, DOCUMENT_VAULT: settings.document_vault_topic_arn}
    return {topic: arn for topic, arn in arns.items() if arn}


def build(settings: ApiSettings) -> Starlette:
    pool = Pool(settings)
    known = topics(settings)
    publisher: Publisher | None = None
    if known:
        region = settings.aws_region or next(iter(known.values())).split(":")[3]
        publisher = Publisher(pool, aws.client("sns", region), known, settings.outbox_poll_seconds)
    if AUDIT not in known:
        log.warning("audit events stay in the outbox: EPR_AUDIT_TOPIC_ARN is empty")
    outbox = Outbox(document_vault=DOCUMENT_VAULT in known)
    service = Service(pool, cache(settings), outbox, publisher.wake if publisher else lambda: None)
    stop = threading.Event()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        pool.open()
        threading.Thread(target=_prepare, args=(settings, publisher, stop), name="prepare", daemon=True).start()
        yield
        stop.set()
        if publisher:
            publisher.stop(_PUBLISH_LAST)
        pool.close()
        log.info("stopped")

    return application(service, Authentication(settings), settings.auth_user_header, lifespan)


def _prepare(settings: ApiSettings, publisher: Publisher | None, stop: threading.Event) -> None:
    if settings.migrate:
        _migrate(settings, stop)
    if publisher and not stop.is_set():
        publisher.thread.start()


def _migrate(settings: ApiSettings, stop: threading.Event) -> None:
    """Until it has worked once: the database may be away when the process starts."""
    cause = ""
    while not stop.is_set():
        try:
            with database.connect(settings.database_url, "permissions-api", echo=settings.sql_echo) as connection:
                migrations.migrate(connection)
        except database.ERRORS as error:
            if database.describe(error) != cause:
                cause = database.describe(error)
                log.error("migration failed", extra={"fields": {"cause": cause}})  # noqa: TRY400  one line
            stop.wait(_MIGRATE_EVERY)
        else:
            return


def run(settings: ApiSettings) -> int:
    """Run until SIGTERM or SIGINT."""
    # uvicorn raises the signal again when it has stopped, for the handler that was there before.
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGINT, lambda *_: None)
    config = uvicorn.Config(
        build(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        # Forwarded headers must not change the peer's address: it decides whether claims are trusted.
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=int(settings.shutdown_grace_seconds) or 1,
    )
    server = uvicorn.Server(config)
    log.info("API starts", extra={"fields": {"host": settings.host, "port": settings.port}})
    server.run()
    return 0 if server.started else 1
