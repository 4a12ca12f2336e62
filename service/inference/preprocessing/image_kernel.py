"""The rasteriser of light-curve images, compiled: anti-aliased error bars, lines and points, blended into bytes.

The layout is described in `images`. Coordinates are pixels from the upper left corner of the image; pixel k spans k to
k + 1. A shape's coverage of a pixel is its area within the pixel: exact for lines and bars, to a hundredth for ends and
discs.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from service.jit import jit, jit_inline
from service.photometry import Kind
from service.photometry.flux import AB_ZERO_POINT_UJY, MAG_PER_RELATIVE_FLUX

MARGIN: Final = 0.05  # of the range of time and flux, left free on each side
WHITE: Final = 255

OPACITY: Final = 0.5  # of bars, lines and points alike

_DETECTION: Final = int(Kind.DETECTION)
# No measurement is beyond these, and differences of such numbers might not be finite.
_LARGEST_FLUX: Final = 1e30  # uJy
_LARGEST_TIME: Final = 1e9  # days
_STAMP_STEPS: Final = 16  # samples along each side of a pixel from which the coverage of a disc is counted


@jit
def draw(points, counts, layers, colours, line_width, marker_size, images):  # type: ignore[no-untyped-def]
    """Draw B light curves into `images` (B, 3, S, S) uint8, overwriting them.

    `points` (N,) of dtype POINT end to end, `counts` (B,) of each; `layers` (surveys, bands) int64: the layer that
    points of a survey and band belong to, -1 for none; `colours` (K, 3) uint8 of the layers, which are drawn in their
    order; widths in pixels. Returns how many points each image shows (B,).
    """
    size = images.shape[2]
    longest = 0
    for curve in range(len(counts)):
        longest = max(longest, counts[curve])
    x = np.empty(longest, np.float64)
    y = np.empty(longest, np.float64)
    error = np.empty(longest, np.float64)
    layer = np.empty(longest, np.int64)
    mask = np.zeros((size, size), np.uint8)
    stamp = _disc(0.5 * marker_size)
    shown = np.zeros(len(counts), np.int64)
    begin = 0
    for curve in range(len(counts)):
        end = begin + counts[curve]
        number = _choose(points, begin, end, layers, x, y, error, layer)
        begin = end
        _place(x, y, error, number, size)
        shown[curve] = number
        image = images[curve]
        image[:] = WHITE
        for which in range(len(colours)):
            for point in range(number):
                if layer[point] == which and error[point] > 0.0:
                    _bar(image, x[point], y[point], error[point], line_width, colours[which])
        for which in range(len(colours)):
            _line(image, mask, x, y, layer, number, which, 0.5 * line_width, colours[which])
            for point in range(number):
                if layer[point] == which:
                    _mark(image, stamp, x[point], y[point], colours[which])
    return shown


@jit_inline
def _choose(points, begin, end, layers, x, y, error, layer):  # type: ignore[no-untyped-def]
    """Fill in time, flux [uJy], error (NaN unknown) and layer of the detections to draw; returns their number."""
    number = 0
    for index in range(begin, end):
        survey = points[index].survey
        band = points[index].band
        if points[index].kind != _DETECTION or survey < 0 or band < 0:
            continue
        if survey >= layers.shape[0] or band >= layers.shape[1] or layers[survey, band] < 0:
            continue
        flux = 10.0 ** (-0.4 * (np.float64(points[index].mag) - AB_ZERO_POINT_UJY))
        if not (flux < _LARGEST_FLUX and abs(points[index].mjd) < _LARGEST_TIME):  # NaN is not smaller
            continue
        x[number] = points[index].mjd
        y[number] = -flux if points[index].sign < 0 else flux
        error[number] = flux * np.float64(points[index].magerr) / MAG_PER_RELATIVE_FLUX
        layer[number] = layers[survey, band]
        number += 1
    return number


@jit_inline
def _place(x, y, error, number, size):  # type: ignore[no-untyped-def]
    """Days and fluxes -> pixels: the extremes of all bands at the margins; if all are equal, the middle."""
    first, last = math.inf, -math.inf
    least, most = math.inf, -math.inf
    for point in range(number):
        first, last = min(first, x[point]), max(last, x[point])
        least, most = min(least, y[point]), max(most, y[point])
    unit = size / (1.0 + 2.0 * MARGIN)
    for point in range(number):
        x[point] = (MARGIN + ((x[point] - first) / (last - first) if last > first else 0.5)) * unit
        y[point] = size - (MARGIN + ((y[point] - least) / (most - least) if most > least else 0.5)) * unit
        error[point] = error[point] / (most - least) * unit if most > least else math.nan


@jit_inline
def _bar(image, x, y, error, width, colour):  # type: ignore[no-untyped-def]
    """A vertical bar of 2 `error`, snapped to whole pixels to be crisp, as plotting programs do."""
    size = image.shape[1]
    half_pixel = 0.5 * (math.floor(width + 0.5) % 2)
    centre = math.floor(x + 0.5) + half_pixel
    top = max(math.floor(max(y - error, -2.0) + 0.5) + half_pixel, 0.0)
    bottom = min(math.floor(min(y + error, size + 2.0) + 0.5) + half_pixel, float(size))
    left, right = max(centre - 0.5 * width, 0.0), min(centre + 0.5 * width, float(size))
    for row in range(int(top), math.ceil(bottom)):
        tall = min(bottom, row + 1.0) - max(top, float(row))
        for column in range(int(left), math.ceil(right)):
            wide = min(right, column + 1.0) - max(left, float(column))
            _blend(image, row, column, tall * wide, colour)


@jit_inline
def _mark(image, stamp, x, y, colour):  # type: ignore[no-untyped-def]
    """A disc centred on a pixel, so that all look alike; on the pixel that plotting programs choose, on average half
    a pixel to the right and down, as with bars.
    """
    size = image.shape[1]
    reach = stamp.shape[0] // 2
    top, left = math.floor(y + 0.5) - reach, math.floor(x + 0.5) - reach
    for row in range(max(-top, 0), min(stamp.shape[0], size - top)):
        for column in range(max(-left, 0), min(stamp.shape[0], size - left)):
            if stamp[row, column] > 0.0:
                _blend(image, top + row, left + column, stamp[row, column], colour)


@jit_inline
def _blend(image, row, column, coverage, colour):  # type: ignore[no-untyped-def]
    weight = OPACITY * coverage
    for channel in range(3):
        before = np.float64(image[channel, row, column])
        image[channel, row, column] = np.uint8(before + weight * (np.float64(colour[channel]) - before) + 0.5)


@jit_inline
def _disc(radius):  # type: ignore[no-untyped-def]
    """Coverage of the pixels around a disc's centre, sampled on a fine grid."""
    reach = max(math.ceil(radius - 0.5), 0)
    width = 2 * reach + 1
    stamp = np.zeros((width, width), np.float64)
    for row in range(width):
        for column in range(width):
            inside = 0
            for step in range(_STAMP_STEPS * _STAMP_STEPS):
                down = row - reach - 0.5 + (step // _STAMP_STEPS + 0.5) / _STAMP_STEPS
                across = column - reach - 0.5 + (step % _STAMP_STEPS + 0.5) / _STAMP_STEPS
                if down * down + across * across <= radius * radius:
                    inside += 1
            stamp[row, column] = inside / (_STAMP_STEPS * _STAMP_STEPS)
    return stamp


@jit_inline
def _line(image, mask, x, y, layer, number, which, half, colour):  # type: ignore[no-untyped-def]
    """The points of one layer joined in order; blended once, even where the line crosses itself.

    `mask` (S, S) is all zeros before and after.
    """
    size = image.shape[1]
    top, bottom, left, right = size, 0, size, 0
    last = -1
    for point in range(number):
        if layer[point] != which:
            continue
        if last >= 0:
            x0, x1, y0, y1 = x[last], x[point], y[last], y[point]
            _segment(mask, x0, y0, x1, y1, half)
            left = min(left, int(min(x0, x1) - half - 1.0))
            right = max(right, int(max(x0, x1) + half + 2.0))
            top = min(top, int(min(y0, y1) - half - 1.0))
            bottom = max(bottom, int(max(y0, y1) + half + 2.0))
        last = point
    left, right, top, bottom = max(left, 0), min(right, size), max(top, 0), min(bottom, size)
    for row in range(top, bottom):
        for column in range(left, right):
            covered = mask[row, column]
            if covered:
                mask[row, column] = 0
                _blend(image, row, column, covered / 255.0, colour)


@jit_inline
def _segment(mask, x0, y0, x1, y1, half):  # type: ignore[no-untyped-def]
    """Add the coverage of a straight piece to `mask`, and raise it to that of the piece's round ends.

    Areas are added, because pieces side by side within a pixel rarely overlap; of ends, which meet where pieces join,
    the maximum is taken.
    """
    size = mask.shape[0]
    dx, dy = x1 - x0, y1 - y0
    length = math.hypot(dx, dy)
    if length == 0.0:
        return
    ux, uy = dx / length, dy / length
    steep = abs(dy) > abs(dx)
    long_slope = abs(uy) if steep else abs(ux)
    short_slope = abs(ux) if steep else abs(uy)
    # step along the longer axis; across it, visit only the pixels that the line may touch
    begin, stop = (min(y0, y1), max(y0, y1)) if steep else (min(x0, x1), max(x0, x1))
    reach = (half + 0.5 * (long_slope + short_slope)) / long_slope
    tilt = (dx / dy) if steep else (dy / dx)
    for along in range(max(int(begin - half - 1.0), 0), min(int(stop + half + 2.0), size)):
        middle = (x0 + (along + 0.5 - y0) * tilt) if steep else (y0 + (along + 0.5 - x0) * tilt)
        for across in range(max(int(middle - reach), 0), min(int(middle + reach + 1.0), size)):
            row, column = (along, across) if steep else (across, along)
            px, py = column + 0.5 - x0, row + 0.5 - y0
            forward = px * ux + py * uy
            aside = px * uy - py * ux
            before = 0.0
            if forward < 0.0:
                coverage = half + 0.5 - math.hypot(px, py)
            elif forward > length:
                coverage = half + 0.5 - math.hypot(forward - length, aside)
            else:
                coverage = _below(half - aside, long_slope, short_slope)
                coverage -= _below(-half - aside, long_slope, short_slope)
                before = np.float64(mask[row, column])
            value = np.uint8(min(before + max(coverage, 0.0) * 255.0 + 0.5, 255.0))
            if value > mask[row, column]:
                mask[row, column] = value


@jit_inline
def _below(distance, long_slope, short_slope):  # type: ignore[no-untyped-def]
    """Area of a unit pixel on this side of a straight edge at a signed `distance` from its centre; the slopes are the
    absolute cosines between the edge and the two axes, the greater first.
    """
    away = abs(distance)
    outer, inner = 0.5 * (long_slope + short_slope), 0.5 * (long_slope - short_slope)
    if away >= outer:
        missing = 0.0
    elif away <= inner:
        missing = 0.5 - away / long_slope
    else:
        missing = (outer - away) ** 2 / (2.0 * long_slope * short_slope)
    return 1.0 - missing if distance > 0.0 else missing
