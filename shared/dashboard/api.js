// What the page asks of the API. Every failure is a Problem (the API refused, and says why) or Unreachable.

export class Problem extends Error {
  constructor(status, found) {
    super(found.detail || found.title || `The API answered ${status}.`);
    this.status = status;
    this.title = found.title || `Refused (${status})`;
    this.faults = found.errors ?? [];
  }

  get passing() {
    return this.status >= 500 || this.status === 429;
  }
}

export class Unreachable extends Error {
  constructor() {
    super("Rowlift does not answer.");
    this.title = "No connection";
    this.faults = [];
  }

  get passing() {
    return true;
  }
}

// Answers up to a second old will do: one look then serves every dashboard that watches.
const LOOK = { Accept: "application/json", "Cache-Control": "max-age=1" };

export async function get(path, { signal } = {}) {
  return (await answer(path, { headers: LOOK, signal })).json();
}

export async function getCounted(path, { signal } = {}) {
  const found = await answer(path, { headers: LOOK, signal });
  return { list: await found.json(), total: Number(found.headers.get("X-Total-Count") ?? 0) };
}

export async function post(path, body = {}) {
  const headers = { Accept: "application/json", "Content-Type": "application/json" };
  return (await answer(path, { method: "POST", headers, body: JSON.stringify(body) })).json();
}

async function answer(path, request) {
  let found;
  try {
    found = await fetch(path, { ...request, credentials: "same-origin" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Unreachable();
  }
  if (found.ok) return found;
  throw problemOf(found.status, await found.text().catch(() => ""));
}

export function problemOf(status, text) {
  try {
    return new Problem(status, Object(JSON.parse(text)));
  } catch {
    return new Problem(status, {});
  }
}

export function query(values) {
  const given = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

export const sessionPath = (id, rest = "") => `/api/session/${encodeURIComponent(id)}${rest}`;
