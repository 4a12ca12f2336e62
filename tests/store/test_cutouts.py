"""Pictures at rest, in both stores: the newest of each object, within a bound, gone with the object."""

from __future__ import annotations

import numpy as np

from service.photometry import POINT, LightCurve
from service.store import Increment, Store
from service.store.interface import StoredCutouts


def pictures(object_id: str, candid: int, mjd: float = 60000.0, size: int = 1000) -> StoredCutouts:
    return StoredCutouts(object_id, candid, mjd, bytes([candid % 256]) * size, b"", b"\0\xff" * (size // 2))


def test_the_newest_pictures_of_an_object_stay_in_whatever_order_they_come(store: Store) -> None:
    old, new = pictures("a", 1), pictures("a", 2, 60001.0)
    for order in ([old, new], [new, old], [new], [old]):
        store.keep_cutouts(order, 10**9)
        assert store.cutouts("a") == new
    assert store.cutouts("b") is None
    assert store.cutouts("\0") is None


def test_beyond_the_bound_those_kept_first_go(store: Store) -> None:
    """Given room for five, when ten come, one of them twice, then the five that were kept last are there."""
    for number in range(9):
        store.keep_cutouts([pictures(f"o{number}", number)], 10_000)
    store.keep_cutouts([pictures("o4", 40, 60001.0)], 10_000)
    kept = [number for number in range(9) if store.cutouts(f"o{number}") is not None]
    assert kept == [4, 5, 6, 7, 8]
    store.keep_cutouts([pictures("o9", 9)], 10_000)
    assert [number for number in range(10) if store.cutouts(f"o{number}") is not None] == [4, 6, 7, 8, 9]
    store.keep_cutouts([pictures("large", 1, size=20_000)], 10_000)
    assert store.cutouts("large") is None
    assert store.cutouts("o9") is None, "the bound holds, whatever it costs"
    store.keep_cutouts([pictures("o1", 1)], 10_000)
    assert store.cutouts("o1") is not None, "what was deleted counts no more"


def test_many_at_once_are_kept_within_the_bound(store: Store) -> None:
    store.keep_cutouts([pictures(f"o{number:04}", number) for number in range(700)], 100 * 2000)
    kept = [number for number in range(700) if store.cutouts(f"o{number:04}") is not None]
    assert kept == list(range(600, 700))


def test_pictures_go_with_their_object(store: Store) -> None:
    point = np.zeros(1, POINT)
    point["mjd"], point["mag"] = 60000.0, 19.0
    store.merge([Increment("a", 10.0, 10.0, LightCurve(point))])
    store.keep_cutouts([pictures("a", 1), pictures("b", 2)], 4000)
    assert store.prune(60001.0) == 1
    assert store.cutouts("a") is None
    store.keep_cutouts([pictures("c", 3)], 4000)
    assert store.cutouts("b") is not None, "the pruned ones make room"
