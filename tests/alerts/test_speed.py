"""The decoder must stay fast. Ratios to fastavro in the same run, so that the machine does not matter."""

import pytest

from benchmarks.decode import measure, packets

pytestmark = pytest.mark.bench


def test_decoding_is_twenty_times_faster_than_fastavro() -> None:
    result = measure(packets(None))
    assert result["compiled"] is True
    assert result["ratio_to_fastavro_reader"] >= 20
