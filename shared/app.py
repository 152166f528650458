"""What each function is made of, put together lazily from its settings: one of each per process."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING

from shared import logs, spans
from shared.config import Settings
from shared.db import Database, connector
from shared.dispatch import Dispatcher
from shared.publisher import PubSubPublisher
from shared.storage import CloudStore

if TYPE_CHECKING:
    from shared.sessions import Sessions


class App:
    """The parts of a function. Making one opens nothing; the parts open their connections in the first request."""

    def __init__(self, settings: Settings, *, name: str) -> None:
        self.settings = settings
        self.name = name
        logs.mask(settings.secrets())
        service = os.environ.get("K_SERVICE", f"rowlift-{name}")
        destination = spans.Destination(
            project=settings.project, service=service, version=settings.code_version, endpoint=settings.otlp_endpoint
        )
        spans.set_up(destination, settings.trace_sample)

    @cached_property
    def db(self) -> Database:
        """The ledger."""
        connect = connector(self.settings.connection, application=f"rowlift-{self.name}")
        return Database(connect, size=self.settings.db_pool_size)

    @cached_property
    def publisher(self) -> PubSubPublisher:
        """Pub/Sub."""
        return PubSubPublisher()

    @cached_property
    def store(self) -> CloudStore:
        """The buckets."""
        return CloudStore()

    @cached_property
    def dispatcher(self) -> Dispatcher:
        """What keeps sessions moving."""
        return Dispatcher(self.db, self.publisher, self.settings)

    @cached_property
    def sessions(self) -> Sessions:
        """What may be done to sessions."""
        from shared.sessions import Sessions  # of all functions only rescue and the API need it

        return Sessions(self.db, self.dispatcher, self.settings)

    def warm(self, *, store: bool = True) -> None:
        """Load now what the first message would wait for, half a second or more; nothing is connected to."""
        self.db.load()
        self.publisher.client()
        if store:
            self.store.client()
