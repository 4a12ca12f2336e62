"""Everything `classify` can read, gathered into one light curve per object."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import click
import orjson

from service.alerts import Alert, AlertError, Decoder
from service.config import QualitySettings
from service.photometry import LightCurve
from service.photometry.table import TableError, light_curves, read_points_table
from service.stream.archives import ArchiveError, read_archive
from service.stream.quality import failed_cuts, quality_flags

TABLE_SUFFIXES: Final = (".parquet", ".csv")


@dataclass
class Intake:
    """Light curves read so far, in order of first appearance, and the count of what could not be read."""

    cuts: QualitySettings
    packets: int = 0
    tables: int = 0
    unreadable: int = 0
    _curves: dict[str, LightCurve] = field(default_factory=dict)
    _newest: dict[str, tuple[float, tuple[str, ...]]] = field(default_factory=dict)  # mjd of the last alert, its flags
    _decoder: Decoder = field(default_factory=Decoder)

    def read(self, paths: Sequence[Path]) -> Iterator[Path]:
        """Read each path, yielding it when done. What can't be read is reported on standard error."""
        for path in paths:
            if path.suffix in TABLE_SUFFIXES:
                self._read_table(path)
            else:
                self._read_packets(path)
            yield path

    def light_curves(self, max_detections: int | None) -> list[tuple[str, LightCurve]]:
        """(object_id, light curve), each as it was known at its `max_detections`-th detection."""
        if max_detections is None:
            return list(self._curves.items())
        return [(object_id, curve.first_detections(max_detections)) for object_id, curve in self._curves.items()]

    def flags(self, object_id: str) -> tuple[str, ...]:
        """What the quality cuts say of the object's newest alert."""
        return self._newest.get(object_id, (0.0, ()))[1]

    def summary(self) -> str:
        """One JSON line: how many of what."""
        objects, packets, tables, unreadable = len(self._curves), self.packets, self.tables, self.unreadable
        words = (
            f"{objects} objects classified from {packets} packets and {tables} tables; {unreadable} could not be read"
        )
        counts = {"objects": objects, "packets": packets, "tables": tables, "unreadable": unreadable}
        return orjson.dumps({"summary": words, **counts}).decode()

    def _read_packets(self, path: Path) -> None:
        source = str(path)
        try:
            for name, raw in read_archive(path):
                source = str(path / name) if path.is_dir() else f"{path}:{name}" if name != path.name else str(path)
                for alert in self._decoder.decode_all(raw):
                    if isinstance(alert, AlertError):
                        self._refuse(source, alert.code, str(alert))
                    else:
                        self._add_alert(alert)
        except ArchiveError as error:
            self._refuse(source, "unreadable_archive", str(error))

    def _read_table(self, path: Path) -> None:
        try:
            for object_id, light_curve in light_curves(read_points_table(path)):
                self._add(object_id, light_curve)
            self.tables += 1
        except TableError as error:
            self._refuse(str(path), "unreadable_table", str(error))

    def _add_alert(self, alert: Alert) -> None:
        self.packets += 1
        self._add(alert.object_id, alert.light_curve)
        if alert.mjd >= self._newest.get(alert.object_id, (0.0, ()))[0]:
            self._newest[alert.object_id] = (alert.mjd, quality_flags(failed_cuts(alert.quality, self.cuts)))

    def _add(self, object_id: str, light_curve: LightCurve) -> None:
        known = self._curves.get(object_id)
        self._curves[object_id] = light_curve if known is None else known.merge(light_curve)

    def _refuse(self, source: str, code: str, message: str) -> None:
        self.unreadable += 1
        click.echo(orjson.dumps({"source": source, "code": code, "message": message}), err=True)
