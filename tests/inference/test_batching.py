"""Which light curves share a run."""

from __future__ import annotations

import numpy as np

from service.inference.batching import equal_shapes


def inputs(windows: int, length: int) -> dict[str, np.ndarray]:
    return {"points": np.zeros((windows, length, 16), np.float32), "context": np.zeros(12, np.float32)}


def test_long_light_curves_share_a_run_with_fewer() -> None:
    given = [*[inputs(1, 60)] * 9, *[inputs(1, 128)] * 5, *[inputs(4, 128)] * 2, inputs(6, 128)]
    groups = equal_shapes(given, 8, most_tokens=512)
    assert [len(group) for group in groups] == [1, 1, 1, 4, 1, 8, 1]
    assert sorted(row for group in groups for row in group) == list(range(len(given)))
    assert groups[0] == [16]  # the longest first
    assert [len(group) for group in equal_shapes(given, 8)] == [1, 2, 5, 8, 1]


def test_the_points_of_all_surveys_count_and_images_have_none() -> None:
    two = {"ztf_points": np.zeros((1, 128, 19)), "atlas_points": np.zeros((2, 128, 19))}
    assert [len(group) for group in equal_shapes([two] * 3, 8, most_tokens=512)] == [1, 1, 1]
    image = {"images": np.zeros((2, 256, 256, 3), np.uint8)}
    assert [len(group) for group in equal_shapes([image] * 9, 8, most_tokens=512)] == [8, 1]
