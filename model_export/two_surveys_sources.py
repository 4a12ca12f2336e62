"""Twenty-one kinds of source, each one physical light curve: spectra over time that any survey may look at.

A model draws one object and returns its flux density at `WAVELENGTHS` for the times asked: explosions are expanding
black bodies whose temperature falls, stars change their brightness more in the blue by a power of wavelength, nuclei
vary over a constant host. So the colours of all filters follow from one spectrum. Shapes and scales are textbook ones,
idealised: the simulation compares architectures and is no evidence about the sky.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.photometry.flux import flux_from_magnitude

Floats: TypeAlias = NDArray[np.float64]

WAVELENGTHS: Final = np.linspace(4000.0, 8300.0, 16)  # angstrom (K,): the blue end of g to the red end of o
R_WAVELENGTH: Final = 6366.0  # angstrom; magnitudes below are at this wavelength where nothing else is said
_RELATIVE: Final = WAVELENGTHS / R_WAVELENGTH
_G_OVER_R: Final = 4746.0 / R_WAVELENGTH
_HC_OVER_K: Final = 1.43878e8  # angstrom kelvin
_HUBBLE: Final = 70.0  # km/s/Mpc
_LIGHT: Final = 299_792.458  # km/s


@dataclass(frozen=True)
class Sky:
    """times [MJD] (T,), ascending, at which the source is asked for; the surveys look from `start` to `stop`, earlier
    times belong to reference images.
    """

    times: Floats
    start: float
    stop: float


# Flux density [uJy] (T, K) of one object, drawn at random.
Model: TypeAlias = Callable[[np.random.Generator, Sky], Floats]


def black_body(wavelength: Floats, temperature: Floats) -> Floats:
    """Planck's law per unit frequency, up to a constant: wavelength [angstrom] and temperature [K] broadcast."""
    return np.asarray(wavelength**-3.0 / np.expm1(np.minimum(_HC_OVER_K / (wavelength * temperature), 500.0)))


def reddened(rng: np.random.Generator, flux: Floats, mean: float = 0.06) -> Floats:
    """Behind an exponential draw of Galactic dust, A proportional to wavelength^-1.3 in the optical."""
    excess = min(float(rng.exponential(mean)), 0.6)
    return np.asarray(flux * 10.0 ** (-0.4 * 3.1 * excess * (WAVELENGTHS / 5500.0) ** -1.3))


# -- transients ------------------------------------------------------------------------------------------------------


def _explosion(
    rng: np.random.Generator,
    sky: Sky,
    absolute: float,
    shape: Callable[[Floats], Floats],
    temperature: Callable[[Floats], Floats],
    *,
    bright: float = 15.0,
    faint: float = 19.2,
    before: float = 15.0,
) -> Floats:
    """An event of absolute r magnitude `absolute` whose r light curve is `shape` of rest-frame days from maximum, (T,),
    or (T, K) where it differs by wavelength beyond what the temperature does.

    Peak magnitudes follow the counts of a Euclidean universe; redshift follows, and stretches time and spectrum.
    """
    peak = faint + np.log10(rng.uniform(10 ** (0.6 * (bright - faint)), 1.0)) / 0.6
    distance = 10 ** ((peak - absolute - 25) / 5)  # Mpc; second order in z with q0 = -0.55
    redshift = (-1 + np.sqrt(1 + 3.1 * _HUBBLE * distance / _LIGHT)) / 1.55
    maximum = rng.uniform(sky.start - before, sky.stop - 15.0)
    days = (sky.times - maximum) / (1 + redshift)
    kelvin = temperature(days)[:, None]
    rest, rest_r = WAVELENGTHS / (1 + redshift), np.array(R_WAVELENGTH / (1 + redshift))
    colour = black_body(rest, kelvin) / black_body(rest_r, kelvin)
    dust_in_host = 10.0 ** (-0.4 * rng.exponential(0.12) * (_RELATIVE**-1.3 - 1.0))
    return reddened(rng, flux_from_magnitude(peak) * shape(days).reshape(len(days), -1) * colour * dust_in_host, 0.04)


def _cooling(hot: float, cold: float, scale: float, since: float = 0.0) -> Callable[[Floats], Floats]:
    """Temperature [K] that falls from `hot` to `cold` within `scale` days from day `since` on."""
    return lambda days: cold + (hot - cold) * np.exp(-np.maximum(days - since, 0.0) / scale)


def _rise_and_fall(rise: float, plateau: float, slope: float, fall: float, tail: float = 0.0) -> Callable:
    """Villar et al. 2019 (ApJ 884, 83, eq. 1) with a radioactive tail (111 d), its maximum 1 at day 0."""

    def raw(days: Floats) -> Floats:
        level = 1 - slope * np.clip(days, 0, plateau)
        decline = (1 - tail) * np.exp(-np.maximum(days - plateau, 0) / fall)
        decline = decline + tail * np.exp(-np.maximum(days - plateau, 0) / 111.0)
        return np.asarray(level * decline / (1 + np.exp(np.clip(-days / rise, None, 60))))

    grid = np.linspace(0, 120, 481)
    curve = raw(grid)
    return lambda days: raw(days + grid[curve.argmax()]) / curve.max()


def sn_ia(rng: np.random.Generator, sky: Sky) -> Floats:
    """M_r = -19.2, stretch 10 %, 1.1 mag in 15 d in the blue (Phillips 1993), second maximum beyond 6,800 angstrom."""
    stretch = float(np.clip(rng.normal(1.0, 0.1), 0.7, 1.3))
    main = _rise_and_fall(3.6, 3.0, 0.01, 19.0, 0.05)
    red = 0.2 / (1 + np.exp(-(WAVELENGTHS - 6800) / 250))  # (K,)

    def shape(days: Floats) -> Floats:
        hump = np.exp(-0.5 * ((days / stretch - 26) / 8) ** 2)
        return np.asarray(main(days / stretch)[:, None] + hump[:, None] * red)

    cooling = _cooling(rng.normal(11500, 700), rng.normal(4500, 250), 14.0 * stretch, -6.0)
    return _explosion(rng, sky, -19.2 - 1.5 * (stretch - 1) + rng.normal(0, 0.15), shape, cooling)


def sn_ibc(rng: np.random.Generator, sky: Sky) -> Floats:
    """M_r = -17.6 +- 0.8, red, no plateau to speak of (Drout et al. 2011; Taddia et al. 2018)."""
    shape = _rise_and_fall(
        max(rng.normal(4.5, 0.9), 2), max(rng.normal(7, 3), 1), 0.01, max(rng.normal(25, 5), 10), 0.1
    )
    return _explosion(rng, sky, rng.normal(-17.6, 0.8), shape, _cooling(rng.normal(7800, 800), 4600, 14, -5))


def sn_iib(rng: np.random.Generator, sky: Sky) -> Floats:
    """As Ibc, after a blue peak of two to five days from the cooling envelope (Arcavi et al. 2017; Morales-Garoffolo
    2014).
    """
    second = _rise_and_fall(max(rng.normal(5, 0.8), 3), max(rng.normal(6, 2), 1), 0.01, max(rng.normal(24, 4), 12), 0.1)
    height, width, lead = rng.uniform(0.35, 0.9), rng.uniform(2.0, 5.0), rng.normal(19, 2)

    def shape(days: Floats) -> Floats:
        since = days + lead
        first = height * np.exp(-np.clip(since, 0, None) / width) * (since > 0)
        return np.asarray(second(days) + first)

    def temperature(days: Floats) -> Floats:
        early = 9000 * np.exp(-np.clip(days + lead, 0, None) / 5.0)
        return np.asarray(_cooling(7600, 4700, 16, -4)(days) + early)

    return _explosion(rng, sky, rng.normal(-17.2, 0.5), shape, temperature)


def sn_ii(rng: np.random.Generator, sky: Sky) -> Floats:
    """A fast rise and a plateau of 80 +- 20 d for seven in ten, 30 +- 12 d for the others (Anderson et al. 2014)."""
    length = rng.normal(80, 20) if rng.random() < 0.7 else rng.normal(30, 12)
    shape = _rise_and_fall(
        max(rng.normal(2.5, 0.7), 1), float(np.clip(length, 10, 130)), 0.004, max(rng.normal(15, 4), 6), 0.15
    )
    return _explosion(
        rng, sky, rng.normal(-17.0, 0.9), shape, _cooling(rng.normal(13000, 1500), 5300, 18, -3), before=60
    )


def sn_iin(rng: np.random.Generator, sky: Sky) -> Floats:
    """Powered by its surroundings: bright, slow, hot for long (Nyholm et al. 2020, A&A 637, A73)."""
    shape = _rise_and_fall(max(rng.normal(8, 3), 3), max(rng.normal(20, 10), 3), 0.006, rng.lognormal(4.1, 0.35))
    return _explosion(
        rng, sky, rng.normal(-18.9, 0.8), shape, _cooling(rng.normal(13500, 2000), 6800, 60, -10), before=60
    )


def slsn(rng: np.random.Generator, sky: Sky) -> Floats:
    """M_r = -21.5 +- 0.6, slow and blue (Gal-Yam 2019, ARA&A 57, 305; Chen et al. 2023)."""
    shape = _rise_and_fall(max(rng.normal(11, 3), 5), max(rng.normal(12, 6), 2), 0.006, rng.lognormal(3.75, 0.25))
    return _explosion(
        rng, sky, rng.normal(-21.5, 0.6), shape, _cooling(rng.normal(15000, 1800), 6500, 40, -15), before=60
    )


def tde(rng: np.random.Generator, sky: Sky) -> Floats:
    """Gaussian rise, (1 + t / t0)^(-5/3), at a constant 12 to 35 kK (van Velzen et al. 2021, ApJ 908, 4)."""
    rise, decay = np.exp(rng.uniform(np.log([10, 30]), np.log([25, 90])))
    kelvin = rng.uniform(12_000, 35_000)

    def shape(days: Floats) -> Floats:
        return np.where(days < 0, np.exp(-0.5 * (days / rise) ** 2), (1 + np.maximum(days, 0) / decay) ** (-5 / 3))

    return _explosion(
        rng, sky, rng.normal(-19.8, 0.7), shape, lambda days: np.full(len(days), kelvin), before=90, faint=18.9
    )


# -- stochastic ------------------------------------------------------------------------------------------------------


def damped_random_walk(rng: np.random.Generator, times: Floats, damping: float, scatter: float) -> Floats:
    """Ornstein-Uhlenbeck process (T,), exact at any spacing: damping [days], scatter the long-term sigma."""
    memory = np.exp(-np.diff(times) / damping)
    kick = np.sqrt(1 - memory**2) * rng.standard_normal(len(memory))
    value = np.empty(len(times))
    value[0] = rng.standard_normal()
    for n in range(1, len(times)):  # a recursion in time
        value[n] = memory[n - 1] * value[n - 1] + kick[n - 1]
    return value * scatter


def _source(r: float, g_minus_r: float, change: Floats, power: float) -> Floats:
    """Flux (T, K) of a source of mean magnitude `r` and a power-law spectrum of the given colour; `change` [mag] (T,)
    at the wavelength of r goes as wavelength^`power` elsewhere.
    """
    slope = g_minus_r / (2.5 * np.log10(1 / _G_OVER_R))
    spectrum = flux_from_magnitude(r) * _RELATIVE**slope
    return np.asarray(spectrum * 10.0 ** (-0.4 * change[:, None] * _RELATIVE**power))


def _faint_counts(rng: np.random.Generator, bright: float, faint: float, slope: float) -> float:
    """A magnitude from counts that grow as 10^(slope m)."""
    return float(faint + np.log10(rng.uniform(10 ** (slope * (bright - faint)), 1.0)) / slope)


def qso(rng: np.random.Generator, sky: Sky) -> Floats:
    """Damped random walk, months to years, 0.1 to 0.5 mag, bluer when brighter (MacLeod et al. 2010)."""
    walk = damped_random_walk(rng, sky.times, 10 ** rng.normal(2.6, 0.3), 10 ** rng.uniform(-0.9, -0.35))
    return reddened(rng, _source(_faint_counts(rng, 15.5, 18.8, 0.5), rng.normal(0.2, 0.15), walk, -0.6))


def agn(rng: np.random.Generator, sky: Sky) -> Floats:
    """A Seyfert nucleus, faster than a quasar, in a constant red host that the reference takes away."""
    r = _faint_counts(rng, 14.0, 17.3, 0.5)
    share = rng.uniform(0.1, 0.5)
    walk = damped_random_walk(rng, sky.times, 10 ** rng.normal(1.9, 0.3), 10 ** rng.uniform(-0.8, -0.3))
    nucleus = _source(r - 2.5 * np.log10(share), rng.normal(0.3, 0.15), walk, -0.7)
    host = _source(r - 2.5 * np.log10(1 - share), rng.normal(0.8, 0.1), np.zeros(len(walk)), 0.0)
    return reddened(rng, nucleus + host)


def blazar(rng: np.random.Generator, sky: Sky) -> Floats:
    """Red power law, hours to weeks, up to a magnitude and more, hardly any change of colour (Bauer et al. 2009)."""
    slow = damped_random_walk(rng, sky.times, 10 ** rng.normal(1.7, 0.35), 10 ** rng.uniform(-0.7, -0.1))
    fast = damped_random_walk(rng, sky.times, 10 ** rng.normal(0.3, 0.3), 10 ** rng.uniform(-1.2, -0.7))
    return reddened(rng, _source(_faint_counts(rng, 15.0, 19.0, 0.5), rng.normal(0.45, 0.12), slow + fast, 0.05))


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
        rng, _source(_faint_counts(rng, 13.5, 18.0, 0.3), rng.normal(1.1, 0.25), walk, rng.normal(-0.75, 0.2)), 0.2
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
        return reddened(rng, _source(rng.uniform(23, 26), 0.1, flicker - brightening, 0.0), 0.2)
    interval = 10 ** rng.uniform(1.2, 2.3)
    amplitude = float(np.clip(1.5 + 1.7 * np.log10(interval / 5) + rng.normal(0, 0.4), 2.0, 6.5))
    duration = float(np.clip(2 + 3.5 * np.log10(interval / 10) + rng.exponential(1.0), 2, 14))
    gaps = interval * rng.uniform(0.6, 1.4, int((times[-1] - times[0]) / interval / 0.6) + 3)
    starts = times[0] - interval * rng.random() + np.cumsum(gaps)
    since = times[:, None] - starts
    shape = np.minimum(since * amplitude, (duration - since) / 2 + amplitude)
    outburst = np.clip(shape, 0, amplitude).max(axis=1)
    return reddened(
        rng, _source(_faint_counts(rng, 17, 21.5, 0.4), rng.normal(0.1, 0.15), flicker - outburst, -0.1), 0.1
    )


# -- periodic --------------------------------------------------------------------------------------------------------


def sawtooth(phase: Floats, weight: float) -> Floats:
    """Sum over k = 1..6 of weight^(k-1) sin(2 pi k phase) / k, a fast brightening and a slow fading; peak to peak 1."""
    order = np.arange(1, 7)

    def raw(at: Floats) -> Floats:
        return np.asarray(-(weight ** (order - 1) / order * np.sin(2 * np.pi * order * at[:, None])).sum(axis=1))

    return raw(phase) / np.ptp(raw(np.linspace(0, 1, 100)))


def eclipses(phase: Floats, first: float, second: float, cosine: float, surface: float, tide: float) -> Floats:
    """Magnitude change of a circular binary: uniform discs of relative radii `first`, `second` that overlap as geometry
    has it, the second's surface `surface` times as bright, ellipsoidal light of relative half amplitude `tide`
    (Hilditch 2001, "An Introduction to Close Binary Stars", chapter 5).
    """
    angle = 2 * np.pi * phase
    apart = np.sqrt(1 - (1 - cosine**2) * np.cos(angle) ** 2)
    distance = np.clip(apart, abs(first - second) + 1e-9, first + second)
    near = (distance**2 + first**2 - second**2) / (2 * distance)
    far = distance - near
    lens = (
        first**2 * np.arccos(np.clip(near / first, -1, 1))
        + second**2 * np.arccos(np.clip(far / second, -1, 1))
        - distance * np.sqrt(np.maximum(first**2 - near**2, 0))
    )
    hidden = np.where(apart <= abs(first - second), np.pi * min(first, second) ** 2, lens)
    hidden = np.where(apart >= first + second, 0.0, hidden)
    behind = np.where(np.cos(angle) > 0, 1.0, surface)
    light = 1 - hidden / np.pi * behind / (first**2 + surface * second**2) - tide * np.cos(2 * angle)
    return np.asarray(-2.5 * np.log10(np.maximum(light, 1e-3)))


def _star(
    rng: np.random.Generator, change: Floats, colour: tuple[float, float], power: float, bright: float, faint: float
) -> Floats:
    """A star from counts between two magnitudes; `change` [mag, r] (T,)."""
    return reddened(rng, _source(_faint_counts(rng, bright, faint, 0.3), rng.normal(*colour), change, power), 0.12)


def _pulsator(rng: np.random.Generator, sky: Sky, period: float, amplitude: float, weight: float) -> Floats:
    """Magnitude change in r; amplitude peak to peak."""
    return np.asarray(amplitude * sawtooth(sky.times / period + rng.random(), weight))


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
    """0.04 to 0.2 d, 0.1 to 0.5 mag in r: the high-amplitude ones, which alone are noticed (Breger 2000)."""
    period, amplitude = 10 ** rng.uniform(np.log10([0.04, 0.1]), np.log10([0.2, 0.5]))
    return _star(rng, _pulsator(rng, sky, period, amplitude, rng.uniform(0.15, 0.45)), (0.15, 0.1), -1.15, 13.0, 17.0)


def other_periodic(rng: np.random.Generator, sky: Sky) -> Floats:
    """What is left: ellipsoidal, rotating and reflecting stars of any colour, one stable wave of 0.1 to 30 d."""
    period, amplitude = 10 ** rng.uniform([-1.0, -0.9], [1.5, -0.3])
    turn = sky.times / period + rng.random()
    wave = np.sin(2 * np.pi * turn) + rng.uniform(0, 0.3) * np.sin(4 * np.pi * (turn + rng.random()))
    return _star(rng, 0.5 * amplitude * wave, (0.5, 0.45), rng.uniform(-0.6, 0.2), 13.0, 17.0)


# The 22 classes of ALeRCE's classifier of ZTF forced photometry less microlensing, its rarest: class -> (superclass,
# model). The paper has 21 classes in these three groups; its own list could not be checked.
SOURCES: Final[dict[str, tuple[str, Model]]] = {
    "SNIa": ("Transient", sn_ia), "SNIbc": ("Transient", sn_ibc), "SNIIb": ("Transient", sn_iib),
    "SNII": ("Transient", sn_ii), "SNIIn": ("Transient", sn_iin), "SLSN": ("Transient", slsn),
    "TDE": ("Transient", tde),
    "QSO": ("Stochastic", qso), "AGN": ("Stochastic", agn), "Blazar": ("Stochastic", blazar),
    "YSO": ("Stochastic", yso), "CV/Nova": ("Stochastic", cataclysmic),
    "LPV": ("Periodic", lpv), "EA": ("Periodic", detached_binary), "EB/EW": ("Periodic", close_binary),
    "DSCT": ("Periodic", delta_scuti), "RSCVn": ("Periodic", spotted), "CEP": ("Periodic", cepheid),
    "RRLab": ("Periodic", rr_lyrae_ab), "RRLc": ("Periodic", rr_lyrae_c),
    "Periodic-Other": ("Periodic", other_periodic),
}  # fmt: skip
