"""Kernels run wherever the package is installed, at once, and answer the same before and after they are compiled."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import service
from service import jit
from service.alerts import Decoder, SchemaFolder, interpreter, ztf
from service.alerts.lsst import points as lsst_points
from service.inference import census_kernel
from service.inference.batching import lay_end_to_end
from service.inference.bundle import default_bundle_folder, load_bundle
from service.inference.classifier import Classifier
from service.inference.preprocessing import block_kernel, image_kernel, token_kernel
from service.inference.preprocessing.blocks import cut_into_blocks, digests_of, kept_input
from service.inference.preprocessing.images import light_curve_images
from service.jit import Kernel
from service.photometry import POINT, Kind, LightCurve, union
from tests.alerts.test_mutations import damaged, mutations, simulated_packets
from tests.alerts.test_rubin_mutations import SCHEMAS, small_packets
from tests.inference.preprocessing import test_alert_clr, test_blocks, test_images
from tests.photometry.test_union import rows

ROOT = Path(service.__file__).parents[1]
KERNELS = (
    (interpreter, "run"),
    (ztf, "_points"),
    (lsst_points, "_points"),
    (union, "choose"),
    (union, "is_two_runs"),
    (census_kernel, "count"),
    (token_kernel, "fill"),
    (image_kernel, "draw"),
    (block_kernel, "cut"),
    (block_kernel, "measured"),
    (block_kernel, "summarise"),
)


def test_a_function_that_can_not_be_kept_on_disk_is_compiled_all_the_same() -> None:
    namespace: dict[str, Any] = {}
    exec("def double(number): return 2 * number", namespace)  # no file: numba has nowhere to keep its code
    double = jit.jit(namespace["double"])
    with jit.compiled():
        assert double(21) == 42
    assert double.is_compiled
    assert double.stats.cache_path is None


def test_machine_code_is_kept_where_the_environment_says(tmp_path: Path) -> None:
    script = "import service.photometry.union as u; print(u.choose.stats.cache_path)"
    assert python(script, tmp_path).startswith(str(tmp_path))


def test_a_few_packets_do_not_wait_for_the_compiler_and_do_not_load_it(tmp_path: Path) -> None:
    script = """if True:
    import sys
    from service.alerts import Decoder
    from service.simulate import simulate
    curve = Decoder().decode(next(iter(simulate(1, seed=3))).packet).light_curve
    print(len(curve) > 0, "numba" in sys.modules)
    """
    assert python(script, tmp_path) == "True False\n"
    assert not list(tmp_path.rglob("*.nbc"))


def test_many_packets_are_soon_decoded_by_machine_code(tmp_path: Path) -> None:
    script = """if True:
    import time
    from service import jit
    from service.alerts import Decoder, interpreter
    from service.simulate import simulate
    jit.SLOW_S = 0.0
    jit.when_slow(print)
    packet = next(iter(simulate(1, seed=3))).packet
    decoder = Decoder()
    begun = time.monotonic()
    while not interpreter.run.is_compiled and time.monotonic() - begun < 200:
        decoder.decode(packet)
    print(interpreter.run.is_compiled, len(decoder.decode(packet).light_curve) > 0)
    """
    told, found = python(script).splitlines()
    assert told == jit.COMPILING  # once
    assert found == "True True"


def test_a_kernel_that_can_not_be_compiled_goes_on_as_python() -> None:
    script = """if True:
    import logging, sys, time
    from service import jit
    logging.basicConfig(stream=sys.stdout, format="%(message)s")
    def nothing(x): return "%d things" % x  # numba knows no such format
    kernel = jit.jit(nothing)
    print(kernel(2))
    jit.compile_in_background()
    while jit.is_compiling(): time.sleep(0.05)
    print(kernel(3), kernel.is_compiled)
    """
    lines = python(script).splitlines()
    assert lines[:2] == ["2 things", "__main__ can't be compiled, and goes on as plain Python"]
    assert lines[-1] == "3 things False"


def test_a_large_array_waits_for_machine_code() -> None:
    choose = Kernel(union.choose.function)
    points = np.zeros(jit.LARGE // union.WORDS + 1, dtype=POINT)
    words = points.view(np.uint32)
    assert choose(words, np.empty_like(words)) == 1
    assert choose.is_compiled


def test_a_large_packet_does_not_wait() -> None:
    run = Kernel(interpreter.run.function)
    program = interpreter.Program(
        np.array([[interpreter.BEGIN, 1, 1, -1], [interpreter.END, 0, 0, -1]], np.int32),
        (),
        np.zeros(2, np.int64),
        1,
        1,
    )
    packet = np.frombuffer(bytes(2 * jit.LARGE), np.uint8)
    run(program.operations, program.empty, packet, 0, len(packet), np.empty(2, np.int64))
    assert not run.is_compiled


def test_a_program_that_ends_while_it_compiles_ends_well(tmp_path: Path) -> None:
    script = """if True:
    from service import jit
    from service.alerts import Decoder
    from service.simulate import simulate
    jit.PATIENCE_S = 0.0
    Decoder().decode(next(iter(simulate(1, seed=3))).packet)
    print(jit.is_compiling())
    """
    assert python(script, tmp_path) == "True\n"


class Both:
    """A kernel that runs twice, as Python and as machine code, and fails where they differ in one bit."""

    def __init__(self, kernel: Kernel, calls: Counter[str]) -> None:
        self._kernel, self._calls = kernel, calls

    def __call__(self, *arguments: Any) -> Any:
        self._calls[self._kernel.function.__module__] += 1
        copies = [each.copy() if isinstance(each, np.ndarray) else each for each in arguments]
        for copy, given_ in zip(copies, arguments, strict=True):
            if isinstance(copy, np.ndarray):
                copy.flags.writeable = given_.flags.writeable
        before = Kernel(self._kernel.function)
        with jit.compiled():
            answer = self._outcome(self._kernel.dispatcher(), arguments)
        said = self._outcome(before, copies)
        assert not before.is_compiled
        np.testing.assert_equal(said, answer)
        for copy, given_ in zip(copies, arguments, strict=True):
            if isinstance(copy, np.ndarray):
                assert copy.tobytes() == given_.tobytes()
        return answer

    @staticmethod
    def _outcome(function: Any, arguments: Any) -> Any:
        try:
            return function(*arguments)
        except (ValueError, IndexError) as error:
            return type(error).__name__


@pytest.fixture(scope="module")
def both() -> Any:
    """Every kernel runs twice; returns how often, by module."""
    calls: Counter[str] = Counter()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jit, "PATIENCE_S", float("inf"))
        for module, name in KERNELS:
            patch.setattr(module, name, Both(getattr(module, name), calls))
        patch.setattr("service.inference.preprocessing.alert_clr.fill", token_kernel.fill)
        patch.setattr("service.inference.preprocessing.images.draw", image_kernel.draw)
        for name in ("cut", "measured", "summarise"):
            patch.setattr(f"service.inference.preprocessing.blocks.{name}", getattr(block_kernel, name))
        yield calls


def test_simulated_and_damaged_packets(both: Counter[str]) -> None:
    decoder = Decoder()
    packets = simulated_packets()
    for raw in [*packets, *islice(mutations(packets, 11), 150)]:
        list(decoder.decode_many([raw]))
    assert both["service.alerts.interpreter"] > 100
    assert both["service.alerts.ztf"] > 30


def test_forced_photometry_of_any_flux(both: Counter[str]) -> None:
    rng = np.random.default_rng(1)
    n = 500
    cells = np.concatenate([ztf.PROJECTION.empty_fields(), *[ztf.PROJECTION.empty_row()] * n])
    numbers = cells.view(np.float64)
    numbers[[ztf.JD, ztf.FID, ztf.MAGPSF, ztf.SIGMAPSF, ztf.RA, ztf.DEC]] = 2460000.5, 1, 18.0, 0.1, 123.4, -56.7
    table = numbers[ztf.N_FIELDS :].reshape(n, ztf.N_COLUMNS)
    table[:, ztf.ROW_JD] = 2459000.5 + np.arange(n) / 3
    table[:, ztf.ROW_FID] = rng.integers(1, 4, n)
    table[:, ztf.ROW_FLUX] = rng.normal(0, 10.0 ** rng.uniform(0, 5, n))
    table[:, ztf.ROW_FLUXUNC] = 10.0 ** rng.uniform(-1, 3, n)
    table[:, ztf.ROW_ZERO_POINT] = rng.uniform(25, 27, n)
    rows = cells[ztf.N_FIELDS :].reshape(n, ztf.N_COLUMNS)
    rows[:, ztf.ROW_IS_FORCED] = 1
    rows[:, ztf.ROW_PROCSTATUS] = 0 << 32 | 1  # the text "0", which is all of the buffer
    curve, _, _ = ztf._light_curve(interpreter.Cells(b"0", cells, n), 1)
    assert np.count_nonzero(curve.kind == Kind.FORCED) == n


def test_damaged_packets_of_rubin(both: Counter[str], tmp_path: Path) -> None:
    for number, written_by in SCHEMAS.items():
        (tmp_path / f"{number}.avsc").write_bytes(orjson.dumps(written_by))
    decoder = Decoder(SchemaFolder(tmp_path))
    rng = random.Random(5)
    for _ in range(4):
        for raw in small_packets():
            list(decoder.decode_many([raw, raw[:5] + bytes(damaged(bytearray(raw[5:]), rng))]))
    assert both["service.alerts.lsst.points"] > 15


@settings(max_examples=100, deadline=None)
@given(values=st.lists(rows, max_size=20))
def test_unions_of_any_points(both: Counter[str], values: Any) -> None:
    union.union(np.array(values, dtype=POINT))


@settings(max_examples=15, deadline=None)
@given(curves=st.lists(test_alert_clr.any_curve(), min_size=1, max_size=4))
def test_answers_about_any_light_curves(both: Counter[str], classifier: Classifier, curves: list[LightCurve]) -> None:
    before = both["service.inference.preprocessing.token_kernel"]
    classifier.classify(curves)
    assert both["service.inference.preprocessing.token_kernel"] > before


@settings(max_examples=20, deadline=None)
@given(curves=st.lists(test_blocks.long_light_curves(), min_size=1, max_size=3), seed=st.integers(0, 2**32))
def test_blocks_of_long_light_curves(both: Counter[str], curves: list[LightCurve], seed: int) -> None:
    points, counts = lay_end_to_end(curves)
    found = cut_into_blocks(points, counts, test_blocks.PARAMETERS)
    digests_of(points, found.bounds)
    stop = int(found.numbers[0])
    embeddings = np.random.default_rng(seed).random((stop - 1, 6)).astype(np.float32)
    kept_input(found.facts[:stop], embeddings, 6)


@settings(max_examples=8, deadline=None)
@given(curves=st.lists(test_images.any_curve(), min_size=1, max_size=2))
def test_images_of_any_light_curves(both: Counter[str], curves: list[LightCurve]) -> None:
    light_curve_images(*lay_end_to_end(curves), {"size": 32, "images": {"image": {"ztf": "gr", "atlas": "co"}}})


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(load_bundle(default_bundle_folder()), threads=1)


def python(script: str, cache: Path | None = None) -> str:
    """What a new interpreter prints whose machine code is kept in `cache`; it must end well."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | ({"NUMBA_CACHE_DIR": str(cache)} if cache else {})
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=250)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout
