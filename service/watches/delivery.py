"""Tell webhooks what was noticed, at least once: a thread beside the stream, which it can neither slow nor stop."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from time import time
from typing import Any, Final

import httpx
import orjson

from service import metrics
from service.config import WatchSettings
from service.secrets import masked, remember
from service.store.filters import Notice, Watch
from service.store.interface import Store, StoreUnavailableError
from service.store.watches import KEPT_S
from service.watches.signing import signed

log = logging.getLogger(__name__)

AT_ONCE: Final = 100  # notices in a message: some 200 kB
TIMEOUT_S: Final = 15.0  # of a receiver's answer, as the specification advises
# A replica that dies while it sends is followed by another one after this.
LEASE_S: Final = 60.0
# Pauses between tries double from the first to the last.
FIRST_PAUSE_S: Final = 5.0
LAST_PAUSE_S: Final = 3600.0
PRUNED_EVERY_S: Final = 3600.0


class WebhookSender:
    """Sends while it is started; several replicas may, each message is one's at a time."""

    def __init__(
        self, store: Store, settings: WatchSettings, clock: Callable[[], float] = time, **options: Any
    ) -> None:
        """`options` go to `httpx.Client`."""
        self._store, self._settings, self._clock = store, settings, clock
        # no redirects, and no proxy from the environment: a message goes to its origin or nowhere
        self._http = httpx.Client(timeout=TIMEOUT_S, follow_redirects=False, trust_env=False, **options)
        self._ended = threading.Event()
        self._threads: dict[str, threading.Thread] = {}
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)
        self._pruned = 0.0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """What is under way may be sent again by another: it is at least once."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(TIMEOUT_S)
        self._http.close()

    def once(self, watch: Watch) -> int:
        """Send the watch's next message, if one is due; how many objects it told."""
        assert watch.url is not None
        assert watch.secret is not None
        remember([watch.secret, watch.url])
        notices = self._store.lease_notices(watch.name, self._clock(), LEASE_S, AT_ONCE)
        if not notices:
            return 0
        try:
            if not self._settings.allows(watch.url):
                raise httpx.UnsupportedProtocol("watch.webhook_origins no longer has its origin")
            body = message(watch, notices)
            headers = signed(watch.secret, message_id(watch, notices), int(self._clock()), body)
            with self._http.stream(
                "POST", watch.url, content=body, headers={**headers, "content-type": "application/json"}
            ) as answer:  # the answer's body is nobody's business, however long it is
                status = answer.status_code
            if not 200 <= status < 300:
                raise httpx.HTTPError(f"the receiver answered {status}")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            said = masked(str(error) or type(error).__name__)[:200]
            pause = min(FIRST_PAUSE_S * 2.0 ** min(watch.failures, 20), LAST_PAUSE_S) * random.uniform(0.8, 1.2)
            self._store.notices_failed(watch.name, said, self._clock() + pause)
            metrics.WEBHOOKS.labels("failed").inc()
            log.warning("the webhook of watch %s was not told: %s", watch.name, said)
            return 0
        self._store.notices_delivered(watch.name, [each.number for each in notices], self._clock())
        metrics.WEBHOOKS.labels("delivered").inc()
        return len(notices)

    def _run(self) -> None:
        while not self._ended.wait(self._settings.interval_s):
            try:
                self._look()
            except StoreUnavailableError as error:
                log.debug("webhooks wait for the store: %s", error)
            except Exception:  # one watch's trouble must not end all others
                log.exception("webhooks could not be told")

    def _look(self) -> None:
        now = self._clock()
        for watch in self._store.watches():
            busy = self._threads.get(watch.name)
            due = watch.url is not None and watch.waiting and watch.next_try <= now
            if due and (busy is None or not busy.is_alive()):  # a slow receiver holds up nobody but itself
                thread = threading.Thread(target=self._tell, args=(watch,), name="webhook", daemon=True)
                self._threads[watch.name] = thread
                thread.start()
        if now - self._pruned > PRUNED_EVERY_S:
            self._pruned = now
            untold = self._store.prune_notices(now - KEPT_S)
            if untold:
                metrics.WEBHOOKS_DROPPED.inc(untold)
                log.error("%d objects were never told to webhooks: too many, or too old", untold)

    def _tell(self, watch: Watch) -> None:
        try:
            while not self._ended.is_set() and self.once(watch):
                pass
        except StoreUnavailableError as error:
            log.debug("webhooks wait for the store: %s", error)
        except Exception:
            log.exception("the webhook of watch %s could not be told", watch.name)


def message(watch: Watch, notices: list[Notice]) -> bytes:
    """The body: type, time and data, as the specification has them."""
    return orjson.dumps(
        {
            "type": "watch.noticed",
            "timestamp": _utc(notices[-1].noticed_at),
            "data": {
                "watch": watch.name,
                "objects": [{"number": each.number, "classification": each.document} for each in notices],
            },
        }
    )


def message_id(watch: Watch, notices: list[Notice]) -> str:
    """The same for the same objects, so that a receiver knows what it has had already."""
    return f"{watch.name}-{notices[0].number}-{notices[-1].number}"


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
