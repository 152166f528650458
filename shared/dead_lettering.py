"""Dead letters: a notice Pub/Sub gave up puts its items back, or ends them after the third."""

from __future__ import annotations

from shared.db import Database
from shared.dispatch import Dispatcher
from shared.errors import InputError
from shared.events import Push
from shared.logs import log
from shared.messages import ItemsNotice, decode_continuation, decode_finalize
from shared.tracing import adopt

_COUNT = "CloudPubSubDeadLetterSourceDeliveryCount"
_PUBLISHED = "CloudPubSubDeadLetterSourceTopicPublishTime"
_SOURCE = "CloudPubSubDeadLetterSourceSubscription"


class DeadLetters:
    """Takes the messages that were given up."""

    def __init__(self, db: Database, dispatcher: Dispatcher) -> None:
        self._db, self._dispatcher = db, dispatcher

    def take(self, push: Push) -> None:
        """Record a dead letter on its items and keep their session moving; rescue looks after every other kind."""
        source = push.attributes.get(_SOURCE, "an unknown subscription")
        count = push.attributes.get(_COUNT, "too many")
        try:
            notice = ItemsNotice.decode(push.data)
        except InputError as error:
            self._take_other(push, source, count, error)
            return
        adopt(session=notice.session)
        reason = (
            f"Pub/Sub gave up its message after {count} deliveries by {source}; look at the log of that function, "
            "then reprocess."
        )
        noted = self._db.rows(
            "dead_letter",
            session=notice.session,
            item_nos=list(notice.items),
            message=push.message_id,
            published=push.attributes.get(_PUBLISHED) or None,
            reason=reason,
        )
        for item in noted:
            log(
                "ERROR",
                "Message given up",
                item_no=item["item_no"],
                attempt=item["attempt"],
                key=item["key"],
                state=item["state"],
                outcome=item["outcome"],
                db_status="error" if item["outcome"] else None,
                source=source,
                deliveries=count,
                error_code="db.undeliverable",
            )
        self._dispatcher.nudge(notice.session)

    def _take_other(self, push: Push, source: str, count: str, error: InputError) -> None:
        file = decode_continuation(push.data)
        try:
            session = decode_finalize(push.data)
        except InputError:
            session = None
        adopt(session=session)
        log("ERROR", "Message given up", file=file, source=source, deliveries=count,
            reason=None if session else str(error), error_code="db.undeliverable")  # fmt: skip
        if session is not None:
            self._dispatcher.nudge(session)
