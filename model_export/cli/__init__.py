"""`model-export`: from points tables to a bundle for the service.

Commands import torch, pandas and scikit-learn where they use them: `--help` would take seconds otherwise.
"""

from __future__ import annotations

import click

from model_export.cli import blocks, bundles, chain, context, judging, surveys, training


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Train, judge and export light-curve classifiers."""


for command in (
    training.simulate_data,
    training.pretrain,
    training.finetune,
    training.average,
    training.probe,
    judging.calibrate,
    judging.choose,
    judging.evaluate,
    judging.later_years_command,
    judging.report,
    judging.uncertainty,
    judging.uncertainty_cost,
    context.judge_alerts,
    context.add_context,
    blocks.fuse_blocks,
    bundles.export,
    bundles.verify,
    bundles.variant,
    bundles.import_astra_command,
    surveys.compare_surveys,
    surveys.export_two_surveys,
    surveys.compare_vision,
    surveys.export_vision,
    chain.run,
):
    main.add_command(command)
