// What is typed into the search: the id of an object, in any case, or a place on the sky.

const RADIUS_ARCMIN = 1;

/** ZTF's names have two cases of letters; people type either. */
export const ztfName = (text) => (/^ztf\d\d[a-z]{7}$/i.test(text) ? text.slice(0, 3).toUpperCase() + text.slice(3).toLowerCase() : text);

/**
 * {ra, dec [deg], radius [arcmin]} of "10.5 20.3", "10.5, -20.3 5" (the last is a radius) or "18:35:06 -12:32:02" (hours),
 * with spaces, colons, or h m s and d m s; null where the text is no place.
 */
export function position(text) {
  const numbers = text.replace(/[,:hmsd°'"′″]/g, " ").trim().split(/\s+/);
  if (!numbers.every((each) => /^[+-]?\d+(\.\d*)?$/.test(each))) return null;
  const decimal = numbers.length === 2 || numbers.length === 3;
  if (!decimal && numbers.length !== 6 && numbers.length !== 7) return null;
  const ra = decimal ? Number(numbers[0]) : 15 * sixty(numbers.slice(0, 3));
  const dec = decimal ? Number(numbers[1]) : sixty(numbers.slice(3, 6));
  const radius = Number(numbers[decimal ? 2 : 6] ?? RADIUS_ARCMIN);
  if (!(ra >= 0 && ra <= 360 && Math.abs(dec) <= 90 && radius > 0)) return null;
  return { ra: +ra.toFixed(6), dec: +dec.toFixed(6), radius };
}

function sixty([whole, minutes, seconds]) {
  const size = Math.abs(Number(whole)) + Number(minutes) / 60 + Number(seconds) / 3600;
  return whole.startsWith("-") ? -size : size; // -0 has a sign too
}
