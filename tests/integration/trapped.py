"""`alert-classifier serve` with a decoder that has a defect in native code: some messages end the process or hang it.

    python trapped.py serve ...

It stands in for a library that crashes; nothing in the service knows of it. The watchdog is made quick.
"""

import ctypes
import os
import signal
from typing import Any

TRAPS = {
    b"kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    b"hang": lambda: ctypes.CDLL(None).sleep(600),
    b"hold": lambda: ctypes.PyDLL(None).sleep(600),  # without giving Python's lock back
}


def trap(kind: str, number: int = 0) -> bytes:
    """A message that does it."""
    return b"%s %d" % (kind.encode(), number)


def main() -> None:
    from service.alerts.decode import Decoder
    from service.cli import main, watchdog

    watchdog.Watchdog.__init__.__defaults__ = (8.0,)  # type: ignore[attr-defined]
    decode_many = Decoder.decode_many

    def with_traps(self: Decoder, raws: Any) -> Any:
        raws = list(raws)
        for raw in raws:
            if raw[:4] in TRAPS:
                TRAPS[raw[:4]]()
        return decode_many(self, raws)

    Decoder.decode_many = with_traps  # type: ignore[method-assign]
    main()


if __name__ == "__main__":
    main()
