"""`model-export`: from points tables to a bundle that the service runs."""

from __future__ import annotations

import click

from model_export.cli import bundles, chain, judging, surveys, training


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Train, judge and export light-curve classifiers."""


for module in (training, judging, bundles, surveys, chain):
    for command in vars(module).values():
        if isinstance(command, click.Command):
            main.add_command(command)
