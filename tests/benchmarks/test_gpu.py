"""The harness for GPUs runs on a CPU too, and says so where there is no GPU to measure."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")

from benchmarks import report
from benchmarks.gpu import main

pytestmark = pytest.mark.torch
SMALL = ["--device", "cpu", "--batches", "1", "4", "--lengths", "16", "--mixed", "64", "--repeats", "1"]


@pytest.mark.parametrize(
    "extra", [["--without-compiler"], pytest.param([], marks=pytest.mark.slow)], ids=["eager", "compiled"]
)
def test_the_harness_measures_every_way_on_a_cpu(extra: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main([*SMALL, *extra])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [(row["batch"], row["length"]) for row in result["by_shape"]] == [(1, 16), (4, 16)]
    ways = ("graph", "torch_eager") if extra else ("graph", "torch_eager", "torch_compiled")
    for row in result["by_shape"]:
        for way in ways:
            for precision in ("float32", "float16"):
                assert row.pop(f"{way}_{precision}") > 0
        assert set(row) == {"batch", "length"}
    exact, padded = result["mixed"]["exact"], result["mixed"]["float16"]
    assert exact["padding"] == 0 < padded["padding"] < 1 / 3
    assert padded["runs"] < exact["runs"] / 2
    assert "| 4 | 16 |" in report.gpu({"gpu": result})


def test_without_a_gpu_it_says_so_and_measures_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("CUDA is here")
    with pytest.raises(SystemExit, match="there is no CUDA device here"):
        main([])
    assert not capsys.readouterr().out
