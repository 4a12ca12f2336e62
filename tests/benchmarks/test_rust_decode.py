"""The decoder beside Rust's apache-avro: both read the same alerts, or there is no figure."""

from __future__ import annotations

import shutil

import pytest

from benchmarks.rust_decode import measure, rust
from service.simulate import simulate

pytestmark = [
    pytest.mark.slow,  # seventy crates are built at the first time
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("cargo") is None, reason="needs cargo"),
]


def test_both_decode_the_same_packets() -> None:
    result = measure([alert.packet for alert in simulate(20)], False)
    assert (result["packets"], result["left_out"]) == (20, 0)


def test_rust_reads_the_history_of_a_packet_and_refuses_what_is_none() -> None:
    alert = next(iter(simulate(1)))
    with rust([alert.packet, b"not a packet"]) as turns:
        word, refused = next(turns)
        assert word is not None
        assert word[1] == alert.candid
        assert word[2] > 0
        assert refused is None
        assert next(turns)[1] is None  # it answers again, turn after turn
