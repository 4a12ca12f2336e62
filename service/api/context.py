"""The objects that routes use, passed in once instead of globals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Concatenate, Final, ParamSpec, Protocol, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, Request

from service.alerts import Decoder
from service.api.inferences import Inferences
from service.api.neighbours import Neighbours
from service.config import Settings
from service.inference.prediction import Prediction
from service.inference.registry import ModelRegistry
from service.photometry import Context as ObjectContext
from service.photometry import LightCurve
from service.store.interface import Store
from service.stream.accounting import Accounting, Accounts
from service.stream.health import StreamHealth

P = ParamSpec("P")
T = TypeVar("T")

# Up to this many points the model runs on the event loop itself: it takes a millisecond or two. Using a thread nearly
# doubled the 99th percentile at 200 requests per second of 50 points (7.1 against 3.9 ms).
INLINE_POINTS: Final = 256


# JSON of 32 MB within the bounds on values becomes some 300 MB of Python's objects. Reading it holds the interpreter's
# lock, so several at once would be no faster.
HEAVY_AT_ONCE: Final = 1
LARGE_BYTES: Final = 1_000_000


class Stream(Protocol):
    """The part of a running stream that the API uses."""

    @property
    def accounting(self) -> Accounting | Accounts: ...

    def health(self) -> StreamHealth: ...


@dataclass(frozen=True, slots=True)
class Context:
    settings: Settings
    models: ModelRegistry
    store: Store
    decoder: Decoder
    neighbours: Neighbours
    stream: Stream | None
    inferences: Inferences = field(default_factory=Inferences)
    heavy: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(HEAVY_AT_ONCE))
    inflating: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(HEAVY_AT_ONCE))

    async def parse(
        self, body: bytes, work: Callable[Concatenate[bytes, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """`work(body, ...)` in a thread; large bodies one after the other, because they take much memory. Small
        ones never wait for them.
        """
        limiter = self.heavy if len(body) > LARGE_BYTES else None
        return await to_thread.run_sync(lambda: work(body, *args, **kwargs), limiter=limiter)

    async def classify(
        self, light_curves: Sequence[LightCurve], contexts: Sequence[ObjectContext | None] | None = None
    ) -> list[Prediction]:
        """One prediction per light curve by the model that answers for it; larger requests run in a thread."""
        classifier = self.models.residents
        if sum(map(len, light_curves)) <= INLINE_POINTS:
            return classifier.classify(light_curves, contexts)
        return await to_thread.run_sync(classifier.classify, light_curves, contexts)


async def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


Here = Annotated[Context, Depends(_context)]


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `work` in a thread of the pool, so that it does not block the event loop."""
    return await to_thread.run_sync(lambda: work(*args, **kwargs))
