// Asks again for what may have changed, gently: with the ETag of the last answer, not while nobody looks, and less often
// while the service does not answer.

import { parse, send } from "./api.js";

const EVERY_MS = 5000; // a 304 costs the service some milliseconds
const SLOWEST_MS = 60_000;

/**
 * Calls `changed(answer)` when the answer of `path` has become another than that with `tag`, and `tell(error)` after
 * each try: null where it was answered. Returns how to stop.
 */
export function followAnswer(path, tag, changed, tell) {
  let stopped = false;
  let wait = EVERY_MS;
  let timer = null;
  let asking = false;
  const later = () => { if (!stopped && !document.hidden) timer = setTimeout(look, wait); };
  const look = async () => {
    clearTimeout(timer);
    asking = true;
    let error = null;
    try {
      const response = await send(path, { headers: tag ? { "If-None-Match": tag } : {} });
      if (response.ok) {
        const answer = parse(await response.text());
        if (stopped) return;
        tag = response.headers.get("ETag");
        await changed(answer);
      } else if (response.status !== 304) {
        throw new Error(`the service answered ${response.status}`);
      }
      wait = EVERY_MS;
    } catch (failure) {
      error = failure;
      wait = Math.min(2 * wait, SLOWEST_MS);
    }
    asking = false;
    if (stopped) return;
    tell(error);
    later();
  };
  const seen = () => { if (!document.hidden && !asking) look(); }; // back from another tab, or from a tunnel
  document.addEventListener("visibilitychange", seen);
  addEventListener("online", seen);
  later();
  return () => {
    stopped = true;
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", seen);
    removeEventListener("online", seen);
  };
}
