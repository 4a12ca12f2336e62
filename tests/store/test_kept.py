"""What models keep of objects is read back as it was written, and goes with the object, and with the model."""

from __future__ import annotations

from service.photometry import LightCurve
from service.store import Increment, KeptBlocks, Store


def seen(store: Store, *names: str, mjd: float = 60000.0) -> None:
    store.merge([Increment(name, 10.0, 20.0, LightCurve.from_columns([mjd], [0], mag=18.0)) for name in names])


def test_what_was_written_last_is_read(store: Store) -> None:
    seen(store, "ZTF1", "ZTF2", "ZTF3")
    assert store.kept_blocks(["ZTF1", "ZTF2"]) == {}
    store.keep_blocks([], {"a"})
    store.keep_blocks(
        [KeptBlocks("ZTF2", "a", b"\0two"), KeptBlocks("ZTF1", "a", b"old"), KeptBlocks("ZTF1", "a", b"one")],
        {"a", "b"},
    )
    store.keep_blocks([KeptBlocks("ZTF1", "b", b"of b")], {"a", "b"})
    found = {"ZTF1": {"a": b"one", "b": b"of b"}, "ZTF2": {"a": b"\0two"}}
    assert store.kept_blocks(["ZTF1", "ZTF2", "ZTF3", "ZTF4", "\0"]) == found
    store.keep_blocks([KeptBlocks("ZTF2", "a", b"newer")], {"a", "b"})
    assert store.kept_blocks(["ZTF2"]) == {"ZTF2": {"a": b"newer"}}


def test_what_no_model_in_use_has_kept_is_forgotten(store: Store) -> None:
    """So that an object never keeps more than the resident models ask for, however often bundles are swapped."""
    seen(store, "ZTF1", "ZTF2")
    for number in range(4):
        in_use = {f"model {number}", f"model {number - 1}"}
        store.keep_blocks([KeptBlocks("ZTF1", f"model {number}", b"x")], in_use)
    assert store.kept_blocks(["ZTF1"]) == {"ZTF1": {"model 2": b"x", "model 3": b"x"}}
    store.keep_blocks([KeptBlocks("ZTF2", "model 3", b"y")], {"model 3"})
    assert store.kept_blocks(["ZTF1"]) == {"ZTF1": {"model 2": b"x", "model 3": b"x"}}  # another object's affair


def test_it_goes_with_the_object(store: Store) -> None:
    seen(store, "ZTF1", mjd=50000.0)
    seen(store, "ZTF2")
    store.keep_blocks([KeptBlocks(name, "a", b"x") for name in ("ZTF1", "ZTF2", "unknown")], {"a"})
    assert store.prune(55000.0) == 1
    store.keep_blocks([KeptBlocks("ZTF1", "a", b"late")], {"a"})  # pruned between its merge and its classification
    seen(store, "ZTF1", "unknown")
    assert store.kept_blocks(["ZTF1", "ZTF2", "unknown"]) == {"ZTF2": {"a": b"x"}}
