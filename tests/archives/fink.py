"""Simulated alerts as Fink keeps them: Parquet with nested `candidate` and `prv_candidates`, without the cutouts."""

from __future__ import annotations

import io
from pathlib import Path

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq

from service.simulate import simulate


def packets_by_object(count: int) -> dict[str, bytes]:
    """The only packet of each of some simulated objects."""
    packets: dict[str, list[bytes]] = {}
    for alert in simulate(count, seed=3):
        packets.setdefault(alert.object_id, []).append(alert.packet)
    return {name: some[0] for name, some in packets.items() if len(some) == 1}


def write_alerts(packets: dict[str, bytes], path: Path) -> None:
    rows = []
    for packet in packets.values():
        (record,) = fastavro.reader(io.BytesIO(packet))
        assert isinstance(record, dict)
        rows.append({name: value for name, value in record.items() if not name.startswith("cutout")})
    pq.write_table(pa.Table.from_pylist(rows), path)
