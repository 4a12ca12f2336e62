"""numba's compiler as this package uses it: without the GIL, kept on disk where there is a place to keep it.

numba's cache is renewed when the file of the compiled function changes, but not when a file changes from which it
imports constants. So keep constants in the compiled function's file, or the cache goes stale.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def jit(function: Callable[..., Any]) -> Any:
    """Compile `function` at its first call.

    The machine code is kept beside the source or, where the package is read-only, in NUMBA_CACHE_DIR or the user's
    cache folder. With no writable place at all, as in a locked-down container, each process compiles afresh, which
    takes seconds: `Decoder.warm_up` does it before the first alert.
    """
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # numba: "no locator available", nowhere to write
        return numba.njit(nogil=True)(function)


def jit_inline(function: Callable[..., Any]) -> Any:
    """Compile `function` into its callers: handing an array to a function that stays one counts references, which
    costs more than reading a number from it.
    """
    return numba.njit(nogil=True, forceinline=True)(function)
