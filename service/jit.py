"""Loops that numba compiles, and that run as plain Python until it has.

Compiling all of them takes ten seconds and more on a machine without numba's cache, loading them from the cache half a
second. Neither stands in the way of a first answer: a `Kernel` runs as it is written until its machine code is there,
with bit-identical results. Code between `jit` and `jit_inline` therefore keeps to what means the same to numba and to
Python: `math.log10` and not `np.log10`, `x * x` and not `x**2`, which may differ in the last bit; numbers of a
structured array are read as attributes and are doubles and 64-bit integers.

numba recompiles when the file of the compiled function changes, but not when constants that it imports from another
file do. So keep constants in the compiled function's file, or the cache goes stale.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any, Final, NamedTuple

import numpy as np

log = logging.getLogger(__name__)

# Seconds spent in plain Python after which machine code pays: about what loading it from numba's cache takes.
PATIENCE_S: Final = 0.5
# Numbers in an array; above it a call waits for the machine code, which is 100 to 1,000 times faster. As plain Python
# so many take about half a second.
LARGE: Final = 1 << 18

# Kernels that take longer than this are not in numba's cache.
SLOW_S: Final = 1.0
COMPILING: Final = "compiling for this machine, once: until that is done, packets are read a hundred times more slowly"


def jit(function: Callable[..., Any]) -> Kernel:
    """A kernel of `function`: without the GIL once it is compiled, and cached on disk where possible.

    The machine code is cached beside the source or, if the package is read-only, in NUMBA_CACHE_DIR or the user's cache
    folder. Without any writable folder, as in a locked-down container, each process compiles again.
    """
    assert isinstance(function, FunctionType)
    return Kernel(function)


def jit_inline(function: Callable[..., Any]) -> Any:
    """Compile `function` inlined into its callers: passing an array to a function that is not inlined counts
    references, which costs more than reading a number from the array. In plain Python it is the function itself.
    """
    assert isinstance(function, FunctionType)
    _INLINED[function] = None
    return function


class Kernel:
    """A function of arrays and numbers that runs as plain Python until it is compiled. Threads may share it."""

    def __init__(self, function: FunctionType) -> None:
        self.function = function
        self.run: Callable[..., Any] = self._plain  # replaced by machine code when it is there
        self._python: Callable[..., Any] | None = None
        self._dispatcher: Any = None

    def __call__(self, *arguments: Any) -> Any:
        return self.run(*arguments)

    @property
    def is_compiled(self) -> bool:
        return self.run is self._dispatcher

    @property
    def stats(self) -> Any:
        """numba's: hits and misses of the cache, and its path."""
        return self.dispatcher().stats

    def dispatcher(self) -> Any:
        """numba's function, which compiles at its first call for each kind of arguments."""
        with _LOCK:
            if self._dispatcher is None:
                self._dispatcher = _dispatcher(self.function)
            return self._dispatcher

    def python(self) -> Callable[..., Any]:
        """The function as it is written, which calls others as they are written."""
        if self._python is None:
            self._python = _copy(self.function, lambda value: value.python() if isinstance(value, Kernel) else value)
        return self._python

    def _plain(self, *arguments: Any) -> Any:
        if _HERE.compiles or any(_numbers(each) > LARGE for each in arguments):
            result = self.dispatcher()(*arguments)
            self.run = self._dispatcher
            return result
        _BACKGROUND.want(self, arguments)
        begun = time.perf_counter()
        try:
            with np.errstate(all="ignore"):  # overflow wraps and 0 / 0 is NaN, as in machine code
                return self.python()(*map(_as_python, arguments))
        finally:
            _BACKGROUND.spent(time.perf_counter() - begun)


@contextmanager
def compiled() -> Iterator[None]:
    """Kernels that this thread calls within are compiled first, or loaded from the cache."""
    before, _HERE.compiles = _HERE.compiles, True
    try:
        yield
    finally:
        _HERE.compiles = before


def compile_in_background() -> None:
    """Compile all kernels that have been called, and those that will be, without waiting for PATIENCE_S."""
    _BACKGROUND.begin()


def when_compiled(then: Callable[[], None]) -> None:
    """Call `then` in the background whenever the kernels called so far have been compiled there."""
    _BACKGROUND.then = then


def when_slow(tell: Callable[[str], None]) -> None:
    """Call `tell` with a sentence for people once kernels are not just loaded from the cache, but compiled."""
    _BACKGROUND.tell = tell


def is_compiling() -> bool:
    """Whether kernels are being compiled or loaded in the background."""
    return _BACKGROUND.is_busy


class _Here(threading.local):
    compiles = False


class _Background:
    """Compiles the kernels that have been called, in the order of their first call, once plain Python has taken
    PATIENCE_S.

    Its thread is none that Python kills at exit, because LLVM must not be torn down under it: it ends after the kernel
    at hand when the program does.
    """

    def __init__(self) -> None:
        self._wanted: deque[tuple[Kernel, tuple[Any, ...]]] = deque()
        self._known: set[Kernel] = set()
        self._spent_s = 0.0
        self.then: Callable[[], None] = lambda: None
        self.tell: Callable[[str], None] = lambda sentence: None
        self._thread: threading.Thread | None = None

    @property
    def is_busy(self) -> bool:
        return self._thread is not None

    def want(self, kernel: Kernel, arguments: tuple[Any, ...]) -> None:
        if kernel in self._known:
            return
        with _LOCK:
            if kernel not in self._known:
                self._known.add(kernel)
                self._wanted.append((kernel, tuple(map(_example, arguments))))

    def begin(self) -> None:
        self._spent_s = float("inf")
        with _LOCK:
            self._start()

    def spent(self, seconds: float) -> None:
        self._spent_s += seconds  # threads may lose some
        if self._spent_s > PATIENCE_S and self._wanted and self._thread is None:
            with _LOCK:
                self._start()

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._compile, name="compile")
            self._thread.start()

    def _compile(self) -> None:
        import numba  # half a second

        begun = time.monotonic()
        is_told = False
        while threading.main_thread().is_alive():
            with _LOCK:
                if not self._wanted:
                    self._thread = None
                    break
                kernel, example = self._wanted.popleft()
            if not is_told and time.monotonic() - begun > SLOW_S:
                self.tell(COMPILING)
                is_told = True
            try:
                dispatcher = kernel.dispatcher()
                if isinstance(dispatcher, numba.core.dispatcher.Dispatcher):  # not under NUMBA_DISABLE_JIT
                    dispatcher.compile(tuple(map(numba.typeof, example)))
                kernel.run = dispatcher
            except Exception:
                log.exception("%s can't be compiled, and goes on as plain Python", kernel.function.__module__)
        else:
            return
        self.then()


_LOCK: Final = threading.RLock()
_HERE: Final = _Here()
_BACKGROUND: Final = _Background()
_INLINED: Final[dict[FunctionType, Any]] = {}  # function -> numba's, when it is needed
_ROWS: Final[dict[Any, Callable[[Any], Any]]] = {}  # dtype -> a tuple with its fields' names


def _dispatcher(function: FunctionType) -> Any:
    """numba's function, with numba's functions in place of the kernels and inlined functions that it calls."""
    import numba  # half a second

    copy = _copy(function, _dispatcher_of)
    if function in _INLINED:
        return numba.njit(nogil=True, forceinline=True)(copy)
    try:
        return numba.njit(nogil=True, cache=True)(copy)
    except RuntimeError:  # numba: "no locator available", nowhere to write
        return numba.njit(nogil=True)(copy)


def _dispatcher_of(value: Any) -> Any:
    if isinstance(value, Kernel):
        return value.dispatcher()
    if not (isinstance(value, FunctionType) and value in _INLINED):
        return value
    if _INLINED[value] is None:
        _INLINED[value] = _dispatcher(value)
    return _INLINED[value]


def _copy(function: FunctionType, instead: Callable[[Any], Any]) -> FunctionType:
    """The function, with other values of the globals that it names."""
    known = function.__globals__
    names = known | {name: instead(known[name]) for name in function.__code__.co_names if name in known}
    copy = FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)
    copy.__module__, copy.__qualname__ = function.__module__, function.__qualname__
    return copy


def _numbers(argument: Any) -> int:
    """How many an array holds; of a packet's bytes few are looked at, but those of one that nobody sends may all be."""
    if not isinstance(argument, np.ndarray):
        return 0
    if argument.dtype == np.uint8 and not argument.flags.writeable:
        return argument.size // 4
    return argument.size * len(argument.dtype.names or "1")


def _as_python(argument: Any) -> Any:
    """What is only read as Python's own numbers: faster to compute with than numpy's, and wide as numba's are."""
    if not isinstance(argument, np.ndarray):
        return argument
    if argument.dtype.names is not None:
        return list(map(_row(argument.dtype), argument.tolist()))
    is_read = not argument.flags.writeable and argument.size
    return memoryview(argument) if is_read else argument  # type: ignore[arg-type]


def _row(dtype: np.dtype[Any]) -> Callable[[Any], Any]:
    if dtype not in _ROWS:
        fields = [(name, object) for name in dtype.names or ()]
        _ROWS[dtype] = NamedTuple("Row", fields)._make
    return _ROWS[dtype]


def _example(argument: Any) -> Any:
    """Of the same type to numba, and small."""
    if not isinstance(argument, np.ndarray):
        return argument
    small = np.empty((0,) * argument.ndim, argument.dtype)
    small.flags.writeable = argument.flags.writeable
    return small
