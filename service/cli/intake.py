"""All input of `classify`, merged into one light curve per object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from service.alerts import Alert, AlertError, Decoder
from service.alerts.quality import failed_cuts, quality_flags
from service.cli.decoding import decoded
from service.cli.notes import note, summary
from service.config import QualitySettings
from service.photometry import SURVEYS_BY_POSITION, Context, LightCurve
from service.photometry.context import newest
from service.store import JOIN_RADIUS_ARCSEC
from service.store.sky import NamedPosition, Positions
from service.stream.files.archives import LARGEST, MOST_TOLD, PACKET_SUFFIXES, TAR_SUFFIXES, Damage, read_archive

TABLE_SUFFIXES: Final = (
    ".parquet", ".csv", ".tsv", ".txt", ".dat", ".tbl", ".json", ".jsonl", ".ndjson", ".ecsv", ".fits", ".fit",
    ".vot", ".xml",
)  # fmt: skip
_WHAT_IS_READ: Final = (
    f" (by their endings are read: packets {', '.join(PACKET_SUFFIXES)}, archives {', '.join(TAR_SUFFIXES)},"
    f" tables {', '.join(TABLE_SUFFIXES)})"
)


@dataclass
class Intake:
    """Light curves read so far, in order of first appearance, and the number of unreadable inputs."""

    cuts: QualitySettings
    join_radius_arcsec: float = JOIN_RADIUS_ARCSEC
    decoder: Decoder = field(default_factory=Decoder)
    packets: int = 0
    tables: int = 0
    unreadable: int = 0
    strict: bool = False  # whether a row that can't be read refuses its table
    skipped_rows: int = 0
    largest: int = LARGEST  # bytes of a packet
    threads: int = 1
    _curves: dict[str, LightCurve] = field(default_factory=dict)
    _newest: dict[str, tuple[float, tuple[str, ...]]] = field(default_factory=dict)  # mjd of the last alert, its flags
    _contexts: dict[str, Context | None] = field(default_factory=dict)
    _places: dict[str, tuple[float, float]] = field(default_factory=dict)  # object -> position of its newest alert
    _photometry: list[Alert] = field(default_factory=list)
    _read_as: Counter[str] = field(default_factory=Counter)  # whose export -> tables

    def read(self, paths: Sequence[Path]) -> Iterator[Path]:
        """Read each path, yielding it when done. What can't be read is reported on standard error."""
        for path in paths:
            suffix = path.suffix.lower()
            if suffix in TABLE_SUFFIXES:
                self._read_table(path)
            else:
                self._read_packets(path)
            yield path
        # last, so that the order of the files does not matter
        positions = Positions(NamedPosition(name, *place) for name, place in self._places.items())
        for photometry in self._photometry:
            nearest = positions.nearest(photometry.ra, photometry.dec, self.join_radius_arcsec)
            # else the one that its file or source is named after
            self._add(nearest or photometry.object_id, photometry.light_curve)
        self._photometry.clear()

    def light_curves(self, max_detections: int | None) -> list[tuple[str, LightCurve]]:
        """(object_id, light curve), each as it was known at its `max_detections`-th detection."""
        if max_detections is None:
            return list(self._curves.items())
        return [(object_id, curve.first_detections(max_detections)) for object_id, curve in self._curves.items()]

    def context(self, object_id: str) -> Context | None:
        """What the object's newest packet says of its surroundings."""
        return self._contexts.get(object_id)

    def flags(self, object_id: str) -> tuple[str, ...]:
        """Flags of the object's newest alert, from its reader and the quality cuts."""
        return self._newest.get(object_id, (0.0, ()))[1]

    def summarise(self) -> None:
        """Say how many of what there were."""
        objects, packets, tables, unreadable = len(self._curves), self.packets, self.tables, self.unreadable
        words = (
            f"{objects} objects classified from {packets} packets and {tables} tables; {unreadable} could not be read"
        )
        counts: dict[str, Any] = {"objects": objects, "packets": packets, "tables": tables, "unreadable": unreadable}
        if self.skipped_rows:
            words += f"; {self.skipped_rows} rows of tables left out"
            counts["skipped_rows"] = self.skipped_rows
        if self._read_as:
            words += "; read as " + ", ".join(
                what if count == 1 else f"{what} ({count})" for what, count in self._read_as.items()
            )
            counts["read_as"] = dict(self._read_as)
        summary(words, counts)

    def _read_packets(self, path: Path) -> None:
        advice = "" if _holds_packets(path) else _WHAT_IS_READ
        told, untold, file = 0, Counter[str](), ""
        for one, alerts in decoded(read_archive(path, self.largest), self.decoder, self.threads):
            if isinstance(one, Damage):
                self._refuse(one.source, one.code, one.message + advice, one.count)
                continue
            if one.file != file:
                self._refuse_more(file, untold)
                told, untold, file = 0, Counter(), one.file
            for alert in alerts:
                if not isinstance(alert, AlertError):
                    self._add_alert(alert)
                elif told < MOST_TOLD:
                    told += 1
                    self._refuse(one.source, alert.code, str(alert) + advice)
                else:
                    untold[alert.code] += 1
        self._refuse_more(file, untold)

    def _read_table(self, path: Path) -> None:
        from service.cli.given_tables import TableError, read_given_table  # pyarrow, for which packets do not wait

        try:
            table = read_given_table(path, strict=self.strict)
        except (TableError, OSError) as error:
            self._refuse(str(path), "unreadable_table", str(error))
            return
        self.tables += 1
        if isinstance(table, Alert):
            self._photometry.append(table)
            return
        for object_id, light_curve in table.light_curves.items():
            self._add(object_id, light_curve)
        for row in table.skipped[:MOST_TOLD]:
            note(str(path), "skipped_row", str(row))
        more = len(table.skipped) - MOST_TOLD
        if more > 0:
            note(str(path), "skipped_row", f"and {more:,} more rows of this file", **_counted(more))
        self.skipped_rows += len(table.skipped)
        if table.read_as:
            self._read_as[table.read_as] += 1

    def _add_alert(self, alert: Alert) -> None:
        self.packets += 1
        if alert.survey in SURVEYS_BY_POSITION:
            self._photometry.append(alert)
            return
        self._add(alert.object_id, alert.light_curve)
        self._contexts[alert.object_id] = newest(self.context(alert.object_id), alert.context)
        if alert.mjd >= self._newest.get(alert.object_id, (0.0, ()))[0]:
            self._places[alert.object_id] = alert.ra, alert.dec
            self._newest[alert.object_id] = (
                alert.mjd,
                alert.flags + quality_flags(failed_cuts(alert, self.cuts)),
            )

    def _add(self, object_id: str, light_curve: LightCurve) -> None:
        known = self._curves.get(object_id)
        self._curves[object_id] = light_curve if known is None else known.merge(light_curve)

    def _refuse(self, source: str, code: str, message: str, count: int = 1) -> None:
        self.unreadable += count
        note(source, code, message, **_counted(count))

    def _refuse_more(self, file: str, codes: Counter[str]) -> None:
        for code, count in codes.items():
            self._refuse(file, code, f"and {count:,} more in this file", count)


def _holds_packets(path: Path) -> bool:
    """Judged by the ending; any other file is tried as a packet too."""
    return path.is_dir() or path.name.lower().endswith(PACKET_SUFFIXES + TAR_SUFFIXES)


def _counted(count: int) -> dict[str, int]:
    return {"count": count} if count > 1 else {}
