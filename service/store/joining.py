"""How photometry by position joins objects: the part that is the same for every engine.

A *position source* is a position for which a survey such as ATLAS sends photometry. Its points are always kept together
under its own name. It joins the nearest object within the radius, and leaves it only for a nearer one. An object's
light curve is the set union of the points of its own alerts and of all sources that have joined it. It is made again
whenever one of them changes, so that the order of arrival does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from service.photometry import SURVEY_CODES, SURVEYS_BY_POSITION, LightCurve, merge
from service.store.interface import Increment, StoredObject
from service.store.merging import is_same, merge_batch
from service.store.sky import ARCSEC, Cone, NamedPosition, Positions, separation_arcsec

JOIN_RADIUS_ARCSEC: Final = 1.5  # within it ZTF itself takes two detections for one object (Masci et al. 2019)

# One name, one position: photometry of two positions under one name could never be separated again.
LARGEST_SHIFT_ARCSEC: Final = 10.0

_BY_POSITION: Final = np.array([SURVEY_CODES[name] for name in SURVEYS_BY_POSITION], dtype=np.int8)


@dataclass(frozen=True, slots=True)
class PositionSource:
    """A position with photometry: `stored` under its own name; `host` is the object that it has joined, if any."""

    stored: StoredObject
    host: str | None


@dataclass(frozen=True, slots=True)
class Box:
    """Where to search for near positions: rows of `cell` with low <= dec <= high [deg]."""

    cell: int
    low: float
    high: float


class JoinTables(Protocol):
    """What joining needs from an engine, within one transaction."""

    def any_sources(self) -> bool: ...

    def sources(self, source_ids: Sequence[str]) -> dict[str, PositionSource]:
        """The stored sources among these names."""
        ...

    def sources_in(self, boxes: Sequence[Box]) -> dict[str, PositionSource]:
        """The sources in the boxes, locked until the transaction ends."""
        ...

    def sources_of(self, object_ids: Sequence[str]) -> list[PositionSource]:
        """The sources that have joined one of these objects."""
        ...

    def objects(self, object_ids: Sequence[str]) -> dict[str, StoredObject]:
        """The stored objects among these names, locked until the transaction ends."""
        ...

    def object_positions(self, boxes: Sequence[Box], object_ids: Sequence[str]) -> list[NamedPosition]:
        """The objects that are in a box or have one of these names."""
        ...

    def write_sources(self, sources: Sequence[PositionSource]) -> None:
        """Insert or replace, ordered by name."""
        ...

    def write_objects(self, objects: Sequence[StoredObject], before: Mapping[str, StoredObject]) -> None:
        """Replace the light curves of these objects, ordered by object_id, which are stored as `before`."""
        ...

    def forget_latest(self, names: Sequence[str]) -> None:
        """Delete the latest classifications under these names, except where an object has the same name."""
        ...


def join_batch(tables: JoinTables, increments: Sequence[Increment], radius_arcsec: float) -> list[StoredObject]:
    """`Store.join`; no object or source may be added or moved by others during the transaction."""
    names = sorted({increment.object_id for increment in increments})
    known = tables.sources(names)
    _check_places(known, increments)
    before = {name: source.stored for name, source in known.items()}
    _, changed = merge_batch(before, increments)
    sources = dict(known)
    for thing in changed:
        former = known.get(thing.object_id)
        sources[thing.object_id] = PositionSource(thing, former.host if former else None)
    tables.write_sources([sources[thing.object_id] for thing in changed])
    sources, objects = _rejoin(tables, sources, {thing.object_id for thing in changed}, radius_arcsec)
    hosts = {source.host for source in sources.values() if source.host is not None}
    objects |= tables.objects(sorted(hosts - objects.keys()))
    answers = []
    for increment in increments:
        source = sources[increment.object_id]
        answers.append(source.stored if source.host is None else objects[source.host])
    return answers


def join_waiting_sources(
    tables: JoinTables, new: Sequence[StoredObject], radius_arcsec: float
) -> dict[str, LightCurve]:
    """Let sources join objects that were just stored for the first time: object_id -> the photometry that joined."""
    if radius_arcsec <= 0 or not tables.any_sources():
        return {}
    near = tables.sources_in(boxes_around([(o.ra, o.dec) for o in new], radius_arcsec))
    if not near:
        return {}
    _, objects = _rejoin(tables, near, set(), radius_arcsec)
    joined = {o.object_id: objects[o.object_id].light_curve for o in new if o.object_id in objects}
    return {name: light_curve.select(_came_by_position(light_curve)) for name, light_curve in joined.items()}


def with_waiting_sources(known: list[StoredObject], joined: Mapping[str, LightCurve]) -> list[StoredObject]:
    """The objects as they were `known`, with what joined them."""
    if not joined:
        return known
    return [
        replace(each, light_curve=merge([each.light_curve, joined[each.object_id]]))
        if each.object_id in joined
        else each
        for each in known
    ]


def sources_as_objects(tables: JoinTables, names: Sequence[str]) -> dict[str, StoredObject]:
    """The stored sources among `names`, each as the object that it has joined, or as itself."""
    sources = tables.sources(names)
    hosts = tables.objects(sorted({source.host for source in sources.values() if source.host is not None}))
    return {name: hosts.get(source.host or "", source.stored) for name, source in sources.items()}


def preview(tables: JoinTables, increment: Increment, by_position: bool, radius_arcsec: float) -> StoredObject:
    """`Store.preview`: the same for one increment, without writing."""
    name = increment.object_id
    if by_position:
        known = tables.sources([name])
        _check_places(known, [increment])
        former = known.get(name)
        source = PositionSource(_merged(former.stored if former else None, increment), former.host if former else None)
        boxes = boxes_around([(source.stored.ra, source.stored.dec)], radius_arcsec)
        positions = Positions(tables.object_positions(boxes, [] if source.host is None else [source.host]))
        host = tables.objects([_host(positions, source, radius_arcsec) or ""])
        curves = [thing.light_curve for thing in (*host.values(), source.stored)]
        return replace(next(iter(host.values()), source.stored), light_curve=merge(curves))
    stored = tables.objects([name]).get(name)
    thing = _merged(stored, increment)
    near = {} if stored else tables.sources_in(boxes_around([(thing.ra, thing.dec)], radius_arcsec))
    if not near:
        return thing
    boxes = boxes_around([(source.stored.ra, source.stored.dec) for source in near.values()], radius_arcsec)
    hosts = sorted({source.host for source in near.values() if source.host is not None})
    positions = Positions([*tables.object_positions(boxes, hosts), NamedPosition(name, thing.ra, thing.dec)])
    joined = [s.stored.light_curve for s in near.values() if _host(positions, s, radius_arcsec) == name]
    return replace(thing, light_curve=merge([thing.light_curve, *joined]))


def _merged(before: StoredObject | None, increment: Increment) -> StoredObject:
    stored = {} if before is None else {before.object_id: before}
    _, changed = merge_batch(stored, [increment])
    return changed[0] if changed else stored[increment.object_id]


def _rejoin(
    tables: JoinTables, sources: Mapping[str, PositionSource], changed: set[str], radius_arcsec: float
) -> tuple[dict[str, PositionSource], dict[str, StoredObject]]:
    """Let each source join the nearest object, and make new light curves of all objects that this changes.

    Returns the updated sources and those objects. `changed` are the sources with new photometry.
    """
    hosts = sorted({source.host for source in sources.values() if source.host is not None})
    boxes = boxes_around([(source.stored.ra, source.stored.dec) for source in sources.values()], radius_arcsec)
    positions = Positions(tables.object_positions(boxes, hosts))
    rejoined = {name: replace(source, host=_host(positions, source, radius_arcsec)) for name, source in sources.items()}
    moved = [name for name in sorted(rejoined) if rejoined[name].host != sources[name].host]
    tables.write_sources([rejoined[name] for name in moved])
    touched = {rejoined[name].host for name in changed.union(moved)} | {sources[name].host for name in moved}
    stored = tables.objects(sorted(name for name in touched if name is not None))
    joined: dict[str, list[LightCurve]] = {name: [] for name in stored}
    for source in tables.sources_of(sorted(stored)) if stored else ():
        joined[source.host or ""].append(source.stored.light_curve)
    objects = {name: _with_joined(thing, joined[name]) for name, thing in stored.items()}
    changed_objects = [objects[name] for name in sorted(objects) if not is_same(stored[name], objects[name])]
    tables.write_objects(changed_objects, stored)
    tables.forget_latest([name for name in moved if rejoined[name].host not in (None, name)])
    return rejoined, objects


def _host(positions: Positions, source: PositionSource, radius_arcsec: float) -> str | None:
    """The nearest object; the one already joined stays a candidate even if it has moved out of the radius."""
    return positions.nearest(source.stored.ra, source.stored.dec, radius_arcsec, or_still=source.host)


def _with_joined(thing: StoredObject, joined: Sequence[LightCurve]) -> StoredObject:
    own = thing.light_curve
    by_position = _came_by_position(own)
    if by_position.any():
        own = own.select(~by_position)
    return replace(thing, light_curve=merge([own, *joined]))


def _came_by_position(light_curve: LightCurve) -> NDArray[np.bool_]:
    return np.isin(light_curve.points["survey"], _BY_POSITION)


def boxes_around(positions: Iterable[tuple[float, float]], radius_arcsec: float) -> list[Box]:
    radius = radius_arcsec * ARCSEC
    boxes = set()
    for ra, dec in positions:
        if radius > 0 and isfinite(ra) and isfinite(dec):
            boxes |= {Box(cell, dec - radius, dec + radius) for cell in Cone(ra, dec, radius).cells()}
    return sorted(boxes, key=lambda box: (box.cell, box.low))


def _check_places(known: Mapping[str, PositionSource], increments: Sequence[Increment]) -> None:
    """Raises ValueError if a known source is given another position."""
    places = {name: (source.stored.ra, source.stored.dec) for name, source in known.items()}
    for increment in increments:
        ra, dec = places.setdefault(increment.object_id, (increment.ra, increment.dec))
        apart = separation_arcsec(ra, dec, increment.ra, increment.dec)
        if apart > LARGEST_SHIFT_ARCSEC:
            raise ValueError(
                f"source {increment.object_id} was at ra {ra:.6f}, dec {dec:.6f} and is now {apart:.1f} arcsec away:"
                " a name stands for one position"
            )
