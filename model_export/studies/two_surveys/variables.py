"""Sources that were always there: nuclei, young and cataclysmic stars that vary at random, stars that vary in phase."""

from __future__ import annotations

import numpy as np

from model_export.studies.two_surveys.spectra import Floats, Sky, counts, damped_random_walk, power_law, reddened
from service.simulate.shapes import eclipses, outburst_scales, outbursts, sawtooth


def qso(rng: np.random.Generator, sky: Sky) -> Floats:
    """Damped random walk, months to years, 0.1 to 0.5 mag, bluer when brighter (MacLeod et al. 2010)."""
    walk = damped_random_walk(rng, sky.times, 10 ** rng.normal(2.6, 0.3), 10 ** rng.uniform(-0.9, -0.35))
    return reddened(rng, power_law(counts(rng, 15.5, 18.8, 0.5), rng.normal(0.2, 0.15), walk, -0.6))


def agn(rng: np.random.Generator, sky: Sky) -> Floats:
    """A Seyfert nucleus, faster than a quasar, in a constant red host that the reference takes away."""
    r = counts(rng, 14.0, 17.3, 0.5)
    share = rng.uniform(0.1, 0.5)
    walk = damped_random_walk(rng, sky.times, 10 ** rng.normal(1.9, 0.3), 10 ** rng.uniform(-0.8, -0.3))
    nucleus = power_law(r - 2.5 * np.log10(share), rng.normal(0.3, 0.15), walk, -0.7)
    host = power_law(r - 2.5 * np.log10(1 - share), rng.normal(0.8, 0.1), np.zeros(len(walk)), 0.0)
    return reddened(rng, nucleus + host)


def blazar(rng: np.random.Generator, sky: Sky) -> Floats:
    """Red power law, hours to weeks, up to a magnitude and more, hardly any change of colour (Bauer et al. 2009)."""
    slow = damped_random_walk(rng, sky.times, 10 ** rng.normal(1.7, 0.35), 10 ** rng.uniform(-0.7, -0.1))
    fast = damped_random_walk(rng, sky.times, 10 ** rng.normal(0.3, 0.3), 10 ** rng.uniform(-1.2, -0.7))
    return reddened(rng, power_law(counts(rng, 15.0, 19.0, 0.5), rng.normal(0.45, 0.12), slow + fast, 0.05))


def yso(rng: np.random.Generator, sky: Sky) -> Floats:
    """Irregular (45 %), dipping by the disc (35 %) or bursting (20 %) after Cody et al. 2014 (AJ 147, 82); red."""
    times, kind = sky.times, rng.choice(3, p=[0.45, 0.35, 0.20])
    walk = damped_random_walk(rng, times, 10 ** rng.uniform(0, 1.5), 10 ** rng.uniform(-1, -0.3))
    if kind == 1:
        period = rng.uniform(3, 12)
        uneven = np.exp(0.5 * damped_random_walk(rng, times, 2 * period, 1.0))
        dip = np.exp(-0.5 * (np.sin(np.pi * (times / period + rng.random())) / 0.45) ** 2)
        walk = rng.uniform(0.3, 1.8) * dip * uneven + 0.2 * walk
    elif kind == 2:
        starts = rng.uniform(times[0], times[-1], max(int((times[-1] - times[0]) / 40), 1))
        since = times[:, None] - starts
        fade = np.exp(-np.clip(since, 0, None) / 10 ** rng.uniform(0.3, 1.5, len(starts)))
        walk = 0.3 * walk - np.sum((since > 0) * fade * rng.uniform(0.3, 2.0, len(starts)), axis=1)
    return reddened(
        rng, power_law(counts(rng, 13.5, 18.0, 0.3), rng.normal(1.1, 0.25), walk, rng.normal(-0.75, 0.2)), 0.2
    )


def cataclysmic(rng: np.random.Generator, sky: Sky) -> Floats:
    """Dwarf novae (nine in ten): outbursts of 2 to 6 mag every 15 to 200 days, blue; the others novae that fade from
    one maximum at 0.02 to 0.2 mag a day (Coppejans et al. 2016, MNRAS 456, 4441; Strope et al. 2010).
    """
    times = sky.times
    flicker = damped_random_walk(rng, times, rng.uniform(0.05, 5), 0.12)
    if rng.random() < 0.1:
        since = times - rng.uniform(sky.start, sky.stop - 30)
        rate = 10 ** rng.uniform(-1.7, -0.7)
        brightening = np.clip(np.where(since < 0, 10 + 5 * since, 10 - rate * since), 0, None)
        return reddened(rng, power_law(rng.uniform(23, 26), 0.1, flicker - brightening, 0.0), 0.2)
    interval = 10 ** rng.uniform(1.2, 2.3)
    amplitude, duration = outburst_scales(rng, interval)
    gaps = interval * rng.uniform(0.6, 1.4, int((times[-1] - times[0]) / interval / 0.6) + 3)
    starts = times[0] - interval * rng.random() + np.cumsum(gaps)
    outburst = outbursts(times[:, None] - starts, amplitude, duration)
    return reddened(rng, power_law(counts(rng, 17, 21.5, 0.4), rng.normal(0.1, 0.15), flicker - outburst, -0.1), 0.1)


def _star(
    rng: np.random.Generator, change: Floats, colour: tuple[float, float], power: float, bright: float, faint: float
) -> Floats:
    """A star from counts between two magnitudes; `change` [mag, r] (T,)."""
    return reddened(rng, power_law(counts(rng, bright, faint, 0.3), rng.normal(*colour), change, power), 0.12)


def _pulsator(rng: np.random.Generator, sky: Sky, period: float, amplitude: float, weight: float) -> Floats:
    """Magnitude change in r; amplitude peak to peak."""
    return np.asarray(amplitude * sawtooth(np.array(weight))(sky.times / period + rng.random()))


def lpv(rng: np.random.Generator, sky: Sky) -> Floats:
    """Miras (150 to 500 d, 2 to 5 mag) and semi-regulars (40 to 300 d, 0.2 to 1.2 mag), very red."""
    mira = rng.random() < 0.4
    period = rng.uniform(150, 500) if mira else 10 ** rng.uniform(1.6, 2.48)
    amplitude = rng.uniform(2.0, 5.0) if mira else 10 ** rng.uniform(-0.7, 0.08)
    wave = _pulsator(rng, sky, period, amplitude, rng.uniform(0.05, 0.3))
    wave = wave * (1 + 0.15 * np.sin(2 * np.pi * (sky.times / period / 5.3 + rng.random())))
    return _star(rng, wave, (1.8, 0.35), -0.75, 13.0, 17.5)


def detached_binary(rng: np.random.Generator, sky: Sky) -> Floats:
    """EA: 0.8 to 20 d, narrow eclipses, flat between them."""
    period = 10 ** rng.uniform(-0.1, 1.3)
    close = (period / 0.8) ** (-2 / 3)  # Kepler: wider orbits, relatively smaller stars
    first = rng.uniform(0.18, 0.30) * close
    second = first * rng.uniform(0.6, 1.0)
    phase = sky.times / period + rng.random()
    change = eclipses(phase, first, second, rng.uniform(0, 0.6) * (first + second), rng.uniform(0.1, 1.0), 0.0)
    return _star(rng, change, (0.5, 0.3), -0.1, 13.0, 17.5)


def close_binary(rng: np.random.Generator, sky: Sky) -> Floats:
    """EB and EW: 0.25 to 2 d, near contact or in contact, light that never rests."""
    contact = rng.random() < 0.7
    period = 10 ** (rng.uniform(-0.6, -0.22) if contact else rng.uniform(-0.4, 0.3))
    first = rng.uniform(0.36, 0.44) if contact else rng.uniform(0.28, 0.36)
    second = first * rng.uniform(0.6, 1.0)
    surface = rng.uniform(0.8, 1.0) if contact else rng.uniform(0.1, 1.0)
    phase = sky.times / period + rng.random()
    change = eclipses(phase, first, second, rng.uniform(0, 0.75) * (first + second), surface, 0.16 if contact else 0.08)
    return _star(rng, change, (0.6, 0.25), -0.1, 13.0, 17.5)


def spotted(rng: np.random.Generator, sky: Sky) -> Floats:
    """RS CVn: two groups of spots carried round in 1 to 40 d, growing and fading over twenty turns; cool."""
    period, amplitude = 10 ** rng.uniform(0.0, 1.6), 10 ** rng.uniform(-0.9, -0.3)
    turn = sky.times / period
    wave = np.sin(2 * np.pi * (turn + rng.random())) + rng.uniform(0, 0.5) * np.sin(4 * np.pi * (turn + rng.random()))
    wave = 0.5 * amplitude * wave * (1 + 0.4 * np.sin(2 * np.pi * (turn / 21 + rng.random())))
    return _star(rng, wave, (0.95, 0.15), -0.55, 13.0, 16.5)


def cepheid(rng: np.random.Generator, sky: Sky) -> Floats:
    """1 to 40 d, 0.3 to 0.8 mag in r, classical and type II (Klagyivik & Szabados 2009)."""
    period = 10 ** np.clip(rng.normal(0.75, 0.35), 0, 1.6)
    wave = _pulsator(rng, sky, period, rng.uniform(0.3, 0.8), rng.uniform(0.35, 0.55))
    return _star(rng, wave, (0.8, 0.2), -1.3, 13.0, 17.5)


def rr_lyrae_ab(rng: np.random.Generator, sky: Sky) -> Floats:
    """0.42 to 0.8 d, 0.35 to 0.9 mag in r, a sawtooth (Sesar et al. 2010, ApJ 708, 717)."""
    period = float(np.clip(rng.normal(0.57, 0.065), 0.42, 0.8))
    return _star(rng, _pulsator(rng, sky, period, rng.uniform(0.35, 0.9), 0.62), (0.2, 0.08), -1.2, 14.0, 18.5)


def rr_lyrae_c(rng: np.random.Generator, sky: Sky) -> Floats:
    """0.24 to 0.42 d, 0.2 to 0.4 mag in r, nearly a sine."""
    period = float(np.clip(rng.normal(0.32, 0.035), 0.24, 0.42))
    return _star(rng, _pulsator(rng, sky, period, rng.uniform(0.2, 0.4), 0.15), (0.12, 0.08), -1.2, 14.0, 18.0)


def delta_scuti(rng: np.random.Generator, sky: Sky) -> Floats:
    """0.04 to 0.2 d, 0.1 to 0.5 mag in r: only those of high amplitude are noticed (Breger 2000)."""
    period, amplitude = 10 ** rng.uniform(np.log10([0.04, 0.1]), np.log10([0.2, 0.5]))
    return _star(rng, _pulsator(rng, sky, period, amplitude, rng.uniform(0.15, 0.45)), (0.15, 0.1), -1.15, 13.0, 17.0)


def other_periodic(rng: np.random.Generator, sky: Sky) -> Floats:
    """The others: ellipsoidal, rotating and reflecting stars of any colour, one stable wave of 0.1 to 30 d."""
    period, amplitude = 10 ** rng.uniform([-1.0, -0.9], [1.5, -0.3])
    turn = sky.times / period + rng.random()
    wave = np.sin(2 * np.pi * turn) + rng.uniform(0, 0.3) * np.sin(4 * np.pi * (turn + rng.random()))
    return _star(rng, 0.5 * amplitude * wave, (0.5, 0.45), rng.uniform(-0.6, 0.2), 13.0, 17.0)
