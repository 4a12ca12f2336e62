"""`alert-classifier classify`: packets, archives and points tables in, one classification per object out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.progress import Progress

from service.alerts import Decoder, schema_source
from service.cli.intake import Intake
from service.cli.report import FORMATS, Report
from service.config import load_settings
from service.inference.bundle import default_bundle_folder, load_bundle
from service.inference.classifier import Classifier
from service.inference.prediction import Prediction
from service.photometry import LightCurve

# Light curves per call of the classifier: enough to keep all threads busy, few enough for a smooth progress bar.
CHUNK: Final = 1024


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--format", "form", type=click.Choice([*FORMATS]), default="table", show_default=True)
@click.option(
    "--max-detections",
    type=click.IntRange(min=1),
    metavar="K",
    help="Classify each light curve as it was known at its K-th detection.",
)
@click.option("--strict", is_flag=True, help="Refuse a table that has a row which can't be read, instead of the row.")
@click.option(
    "--bundle", type=click.Path(file_okay=False, path_type=Path), help="Model bundle, instead of the configured."
)
@click.pass_obj
def classify(
    config: Path | None,
    paths: tuple[Path, ...],
    form: str,
    max_detections: int | None,
    strict: bool,
    bundle: Path | None,
) -> None:
    """Classify alert packets (.avro, also packed), folders and tar archives of them, points tables (.parquet, .csv),
    and light curves as ALeRCE, Fink, Lasair, ANTARES, Babamul and the forced photometry servers of ZTF and ATLAS export
    them (CSV, JSON, Parquet, text, ECSV, FITS, VOTable).

    Packets and points of one object are merged first, ATLAS photometry by position (with an object that only a points
    table brings: by name, that of the file); each object gets one line. What can't be read is reported on
    standard error as a JSON line with source, code and message (100 for a file, then how many more), and a summary ends
    it. The exit status is 0 only if everything was read: 1 where a packet, table, file or archive was refused or
    damaged, and where there was nothing to read.
    """
    settings = load_settings(config)
    classifier = Classifier(
        load_bundle(bundle or settings.model.bundle or default_bundle_folder(), settings.model.trusted_keys),
        settings.model.device,
        settings.model.threads,
    )
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        decoder = Decoder(schema_source(settings.kafka))
        intake = Intake(
            settings.quality,
            settings.store.join_radius_arcsec,
            decoder,
            strict=strict,
            largest=settings.pipeline.max_message_bytes,
        )
        for _ in progress.track(intake.read(paths), total=len(paths), description="reading"):
            pass
        curves = intake.light_curves(max_detections)
        manifest = classifier.bundle.manifest
        report = Report(form, manifest.classes, manifest.stochastic is not None)
        task = progress.add_task("classifying", total=len(curves))
        for object_id, light_curve, prediction in _classified(classifier, curves):
            report.add(object_id, light_curve, prediction, intake.flags(object_id))
            progress.advance(task)
    report.end()
    click.echo(intake.summary(), err=True)
    if not curves or intake.unreadable or intake.skipped_rows:
        sys.exit(1)


def _classified(
    classifier: Classifier, curves: list[tuple[str, LightCurve]]
) -> Iterator[tuple[str, LightCurve, Prediction]]:
    for start in range(0, len(curves), CHUNK):
        chunk = curves[start : start + CHUNK]
        for (object_id, curve), prediction in zip(chunk, classifier.classify([c for _, c in chunk]), strict=True):
            yield object_id, curve, prediction
