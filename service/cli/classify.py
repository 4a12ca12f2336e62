"""`alert-classifier classify`: packets, archives and points tables in, one classification per object out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.progress import Progress

from service import jit
from service.alerts import Decoder, schema_source
from service.cli.intake import Intake
from service.cli.notes import note
from service.cli.report import FORMATS, Report
from service.config import load_settings
from service.inference.bundle import default_bundle_folder, load_bundle
from service.inference.classifier import Classifier
from service.inference.prediction import Prediction
from service.photometry import Context, LightCurve
from service.stream.inputs import framed

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
    "--context",
    "context_table",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="TABLE",
    help="The objects' surroundings (.parquet, .csv): object_id and columns named as in ZTF's packets.",
)
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
    context_table: Path | None,
    bundle: Path | None,
) -> None:
    """Classify alert packets (.avro, also packed), folders and tar archives of them, points tables (.parquet, .csv),
    and light curves as ALeRCE, Fink, Lasair, ANTARES, Babamul and the forced photometry servers of ZTF and ATLAS export
    them (CSV, JSON, Parquet, text, ECSV, FITS, VOTable).

    Packets and points of one object are merged first, ATLAS photometry by position (with an object that only a points
    table brings: by name, that of the file); each object gets one line. A model that takes the objects' surroundings
    gets them from the packets, or from the row of --context (of several rows the newest, by jd). What can't be read is
    reported on standard error (100 for a file, then how many more), and a summary ends it: as sentences on a terminal,
    else as JSON lines with source, code and message. The exit status is 0 only if everything was read: 1 where a
    packet, table, file or archive was refused or damaged, and where there was nothing to read.
    """
    settings = load_settings(config)
    classifier = Classifier(
        load_bundle(bundle or settings.model.bundle or default_bundle_folder(), settings.model.trusted_keys),
        settings.model.device,
        settings.model.threads,
    )
    given = _contexts(context_table, classifier)
    with Progress(
        console=Console(stderr=True), transient=True, redirect_stderr=False, disable=not sys.stderr.isatty()
    ) as progress:
        slow: list[str] = []  # sentences about the compiler

        def tell(sentence: str) -> None:
            slow.append(sentence)
            progress.console.print(sentence)

        if progress.console.is_terminal:
            jit.when_slow(tell)
        decoder = Decoder(schema_source(framed(settings)))
        intake = Intake(
            settings.quality,
            settings.store.join_radius_arcsec,
            decoder,
            strict=strict,
            largest=settings.pipeline.max_message_bytes,
            threads=classifier.threads,
        )
        for _ in progress.track(intake.read(paths), total=len(paths), description="reading"):
            pass
        curves = intake.light_curves(max_detections)
        manifest = classifier.bundle.manifest
        report = Report(form, manifest.classes, manifest.stochastic is not None)
        task = progress.add_task("classifying", total=len(curves))
        contexts = [given.get(object_id, intake.context(object_id)) for object_id, _ in curves]
        if context_table and curves and not any(object_id in given for object_id, _ in curves):
            note(str(context_table), "no_context", "the table has a row of none of the objects")
        for object_id, light_curve, prediction in _classified(classifier, curves, contexts):
            report.add(object_id, light_curve, prediction, intake.flags(object_id))
            progress.advance(task)
    report.end()
    intake.summarise()
    if slow and jit.is_compiling():
        click.echo("keeping what has been compiled, for the next time ...", err=True)
    if not curves or intake.unreadable or intake.skipped_rows:
        sys.exit(1)


def _contexts(path: Path | None, classifier: Classifier) -> dict[str, Context]:
    """object_id -> context of the table, if there is one."""
    if path is None:
        return {}
    from service.photometry.context_table import read_context_table  # pyarrow, for which packets do not wait
    from service.photometry.table import TableError

    try:
        contexts = read_context_table(path)
    except TableError as error:
        raise click.BadParameter(str(error), param_hint="--context") from error
    taken = classifier.bundle.manifest.context
    if not taken:
        note(str(path), "context_not_taken", f"{classifier.bundle.label} takes no context: answers are as without it")
    elif contexts:  # so that a misspelt column, which is read as little as any other, does not go unseen
        known = set().union(*(context.known() for context in contexts.values()))
        if unknown := [name for name in taken if name not in known]:
            note(
                str(path),
                "context_unknown",
                f"no row has a value of {', '.join(unknown)}, which {classifier.bundle.label} takes",
            )
    return contexts


def _classified(
    classifier: Classifier, curves: list[tuple[str, LightCurve]], contexts: list[Context | None]
) -> Iterator[tuple[str, LightCurve, Prediction]]:
    for start in range(0, len(curves), CHUNK):
        chunk = curves[start : start + CHUNK]
        predictions = classifier.classify([curve for _, curve in chunk], contexts[start : start + CHUNK])
        for (object_id, curve), prediction in zip(chunk, predictions, strict=True):
            yield object_id, curve, prediction
