"""The command that gives a finished run the fusion of blocks, judged on long histories."""

from __future__ import annotations

from pathlib import Path

import click

from model_export.cli.context import LIGHT_CURVE_BUNDLE
from model_export.cli.options import DATA, RUN


@click.command("fuse-blocks")
@DATA
@RUN
@LIGHT_CURVE_BUNDLE
@click.option("--simulated", type=click.Path(path_type=Path, exists=True), help="Simulated objects followed for years.")
@click.option("--out", type=click.Path(path_type=Path), help="Run to write; without it only the table is printed.")
def fuse_blocks(data: Path, run: Path, bundle: Path, simulated: Path | None, out: Path | None) -> None:
    """Compare blocks with windows on long histories, cross-validated, and fit the fusion of a finished run's blocks.

    The bundle is the one that was exported from the run: the fusion is fitted with its prior, as its calibration was.
    """
    import numpy as np

    from model_export.data.long_histories import long_histories
    from model_export.judging.calibrate import read_calibration
    from model_export.judging.long_histories import judge_long_histories, long_table
    from model_export.training.fuse_blocks import (
        block_parameters,
        fit_correction,
        fused,
        object_weights,
        write_fused_run,
    )
    from model_export.training.run import load_run
    from service.inference.manifest import Manifest

    network, config = load_run(run)
    softening, calibration, _ = read_calibration(run / "calibration.json")
    prior = np.array(Manifest.model_validate_json((bundle / "manifest.json").read_text()).prior)
    long = long_histories(data, simulated, config.window)
    parameters = block_parameters(config.window, config.encoder.embedding)
    both = config.parameters, parameters
    click.echo(long_table(judge_long_histories(network, long, both, prior, softening, calibration)))
    if out is None:
        return
    found = fused(network, long, parameters)
    rows = np.flatnonzero(found.several)
    correction = fit_correction(
        found.told[rows], found.logits[rows] + np.log(prior), long.labels[rows], object_weights(long)[rows]
    )
    write_fused_run(run, out, correction, parameters, prior)
    click.echo(f"wrote {out}")
