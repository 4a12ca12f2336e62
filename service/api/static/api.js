// Talking to the service: JSON with 64-bit candids kept, problems as errors, the pulse as a stream.

export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || `the service answered ${status}`);
    this.status = status;
    this.errors = body.errors || [];
    this.links = Object.entries(body.links || {});
  }
}

const KEY = "api-key";

/** GET, or whatever `options` says; the answer parsed. Asks for an API key once where one is needed. */
export async function ask(path, options = {}) {
  const response = await request(path, options);
  return parse(await response.text());
}

/** The raw answer, whatever its status. */
export async function send(path, options = {}) {
  const response = await fetch(path, { ...options, headers: { ...(options.headers || {}), ...keyHeader() } });
  return response.status === 401 && (await enterKey()) ? send(path, options) : response;
}

async function request(path, options) {
  const response = await send(path, options);
  if (!response.ok) {
    let body = {};
    try { body = await response.json(); } catch { /* a proxy's own page */ }
    throw new Problem(response.status, body);
  }
  return response;
}

/** JavaScript's numbers hold 53 bits, a candid needs 61: they are read as text. */
export function parse(text) {
  const quoted = text
    .replace(/"candid":(\d{15,})/g, '"candid":"$1"')
    .replace(/"candid":\[([\d,]*)\]/g, (_, list) => `"candid":[${list.replace(/\d+/g, '"$&"')}]`);
  return JSON.parse(quoted);
}

/** Calls `tell(pulse)` for every server-sent event and `tell(null)` while the service is away; returns how to stop. */
export function follow(tell) {
  let controller = new AbortController();
  let stopped = false;
  const stop = () => { stopped = true; controller.abort(); };
  (async () => {
    for (let wait = 1; !stopped; wait = Math.min(2 * wait, 15)) {
      try {
        // EventSource can't send a key, hence by hand
        const response = await request("/v1/events", { signal: controller.signal });
        let rest = "";
        for await (const text of chunks(response.body)) {
          const events = (rest + text).split("\n\n");
          rest = events.pop();
          for (const event of events) {
            const data = event.split("\n").find((line) => line.startsWith("data: "));
            if (data) { tell(parse(data.slice(6))); wait = 1; }
          }
        }
      } catch (error) {
        if (stopped) return;
        if (error instanceof Problem && error.status === 401) { tell(null); return; }
      }
      tell(null);
      await new Promise((resolve) => setTimeout(resolve, 1000 * wait));
    }
  })();
  return stop;
}

async function* chunks(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    yield value;
  }
}

function keyHeader() {
  const key = sessionStorage.getItem(KEY);
  return key ? { "X-API-Key": key } : {};
}

let entering = null; // several requests may be refused at once, but people are asked once

function enterKey() {
  entering ??= new Promise((resolve) => {
    const dialog = document.getElementById("key");
    const input = document.getElementById("key-value");
    input.value = "";
    dialog.showModal();
    dialog.addEventListener("close", () => {
      entering = null;
      if (dialog.returnValue === "ok" && input.value) sessionStorage.setItem(KEY, input.value);
      resolve(dialog.returnValue === "ok" && Boolean(input.value));
    }, { once: true });
  });
  return entering;
}
