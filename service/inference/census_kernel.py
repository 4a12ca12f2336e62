"""The compiled loop that counts what light curves hold: one pass, whatever their age."""

from __future__ import annotations

from typing import Final

from service.jit import jit
from service.photometry import Kind

_DETECTION: Final = int(Kind.DETECTION)


@jit
def count(points, counts, is_read, cells, usable, left_out, read):  # type: ignore[no-untyped-def]
    """Fill in `cells` (B, bands, kinds) int64: points of each; `usable` (B,): detections with a magnitude that the
    model reads; `left_out` (B, 2): points that it does not, because of their band, and because of their survey; `read`
    (N,): whether it reads a point. All but `read` must be 0.

    `points` (N,) of dtype POINT end to end, `counts` (B,) of each, `is_read` (surveys, bands). Raises IndexError for a
    code that is unknown.
    """
    surveys, bands = is_read.shape
    by_any = is_read[0].copy()  # a band that is read of some survey
    for survey in range(1, surveys):
        for band in range(bands):
            by_any[band] |= is_read[survey, band]
    begin = 0
    for curve in range(len(counts)):
        end = begin + counts[curve]
        for index in range(begin, end):
            point = points[index]
            band, kind, survey = point.band, point.kind, point.survey
            if not (0 <= band < bands and 0 <= kind < cells.shape[2] and 0 <= survey < surveys):
                raise IndexError("a point has an unknown band, kind or survey")
            cells[curve, band, kind] += 1
            read[index] = is_read[survey, band]
            if not is_read[survey, band]:
                left_out[curve, 1 if by_any[band] else 0] += 1
            elif kind == _DETECTION and point.mag == point.mag:
                usable[curve] += 1
        begin = end
