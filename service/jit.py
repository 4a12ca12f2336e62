"""numba's compiler with this package's options: without the GIL, cached on disk where possible.

numba recompiles when the file of the compiled function changes, but not when constants that it imports from another
file do. So keep constants in the compiled function's file, or the cache goes stale.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def jit(function: Callable[..., Any]) -> Any:
    """Compile `function` at its first call.

    The machine code is cached beside the source or, if the package is read-only, in NUMBA_CACHE_DIR or the user's cache
    folder. Without any writable folder, as in a locked-down container, each process compiles again, which takes
    seconds: `Decoder.warm_up` does it before the first alert.
    """
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # numba: "no locator available", nowhere to write
        return numba.njit(nogil=True)(function)


def jit_inline(function: Callable[..., Any]) -> Any:
    """Compile `function` inlined into its callers: passing an array to a function that is not inlined counts
    references, which costs more than reading a number from the array.
    """
    return numba.njit(nogil=True, forceinline=True)(function)
