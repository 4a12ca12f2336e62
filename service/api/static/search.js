// What is typed into the search: the id of an object or its beginning, in any case, or a place on the sky.

import { ask } from "./api.js";

const RADIUS_ARCMIN = 1;

/** The page of what is sought: a place's objects, one object, or those whose names begin so. */
export async function found(sought) {
  const place = position(sought);
  if (place) return `#/objects?${new URLSearchParams({ ra: place.ra, dec: place.dec, radius: place.radius })}`;
  const name = ztfName(sought);
  if (/^ZTF\d\d[a-z]{7}$/.test(name)) return `#/object/${encodeURIComponent(name)}`;
  try {
    const { objects } = await ask(`/v1/objects?${new URLSearchParams({ prefix: sought, limit: 2 })}`);
    const same = objects.find((each) => each.object_id.toLowerCase() === sought.toLowerCase());
    if (!same && objects.length > 1) return `#/objects?${new URLSearchParams({ prefix: sought })}`;
    if (objects.length) return `#/object/${encodeURIComponent((same || objects[0]).object_id)}`;
  } catch { /* the object's page tells what is wrong */ }
  return `#/object/${encodeURIComponent(sought)}`; // photometry that has joined an object has a name too
}

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
