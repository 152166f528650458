// The ledger's words, figures and times as people read them.

const GROUPED = new Intl.NumberFormat(undefined);
const MOMENT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const CLOCK = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

export const number = (value) => GROUPED.format(value);
export const rate = (value) => new Intl.NumberFormat(undefined, { maximumFractionDigits: value < 10 ? 1 : 0 }).format(value);
export const moment = (iso) => (iso ? MOMENT.format(new Date(iso)) : "");
export const clock = (iso) => (iso ? CLOCK.format(new Date(iso)) : "");
export const counted = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

export function money(usd) {
  if (usd === null || usd === undefined) return "none";
  const digits = usd === 0 || usd >= 1 ? 2 : 6;
  const text = new Intl.NumberFormat("en-US", { minimumFractionDigits: 2, maximumFractionDigits: digits }).format(usd);
  return `$${text}`;
}

export function duration(seconds) {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 172_800) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86_400)} days ${Math.floor((whole % 86_400) / 3600)} h`;
}

export function bytes(size) {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let at = 0;
  while (size >= 1000 && at < units.length - 1) {
    size /= 1000;
    at++;
  }
  return `${rate(size)} ${units[at]}`;
}

export function percent(value) {
  // 99.96 % is not all: nothing but the end reads as 100.
  const shown = value < 100 ? Math.min(99.9, Math.round(value * 10) / 10) : 100;
  return `${new Intl.NumberFormat(undefined).format(shown)} %`;
}

export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
export const spaced = (name) => name.replaceAll(/[_-]/g, " ");

// In the order people look for them.
export const OUTCOMES = [
  "enriched", "unchanged", "skipped", "duplicate", "merged", "not_found", "needs_review", "failed", "rejected", "cancelled",
];
export const REPROCESSABLE = OUTCOMES.filter((name) => !["duplicate", "merged", "rejected"].includes(name));

export const MEANING = {
  enriched: "asked and answered",
  unchanged: "same as before; the answer was reused and nothing paid",
  skipped: "left alone by an option",
  duplicate: "same key earlier in the session",
  merged: "part of another row",
  not_found: "the upstream knows no such thing",
  needs_review: "a person has to choose",
  failed: "no answer; see the error",
  rejected: "not valid, never asked",
  cancelled: "stopped on request",
};

export const outcomeWord = (outcome) => (outcome === "needs_review" ? "needs a look" : spaced(outcome));
export const stateWord = { available: "waiting", running: "running", retryable: "to be tried again" };
export const standsAs = (row) => (row.outcome ? outcomeWord(row.outcome) : stateWord[row.state] ?? row.state);

export const TONES = {
  uploading: "busy", processing: "busy", enriching: "busy", quoted: "warn", paused: "warn",
  completed: "good", failed: "bad", cancelled: "mute",
};

export const works = (status) => ["uploading", "processing", "enriching"].includes(status.status);
// How long panels leave what they show as it is, in milliseconds: what works changes all the time.
export const restOf = (status) => (works(status) ? 3000 : 0);
export const ended = (status) => ["completed", "failed", "cancelled"].includes(status.status);
export const budgetHolds = (status) =>
  status.status === "paused" && status.budget_usd !== null && /budget/i.test(status.pause_reason ?? "");
export const stoppedEarly = (status) => status.status === "failed" && status.error_code === "input.too_many_failed";

// What a person calls a session: its export's or its file's name.
export function nameOf(session) {
  const path = (session.source ?? "").replace(/^gs:\/\/[^/]*\//, "").split("/");
  const name = session.pipeline === "movies" ? path[1] : path.at(-1);
  return name || session.session_id;
}

// Work as people count it: films, not the records they come from.
export function workOf(status) {
  const films = status.total_movies;
  const settled = status.total - status.open;
  if (films === undefined)
    return {
      total: status.total,
      done: settled,
      unit: status.pipeline === "movies" ? "record" : "row",
      percent: status.progress_percent ?? (status.total ? (100 * settled) / status.total : 0),
    };
  if (films === null) return { total: 0, done: 0, unit: "film", percent: 0 };
  const done = Math.max(0, films - status.open);
  return { total: films, done, unit: "film", percent: films ? (100 * done) / films : 100 };
}

const BINDS = {
  rate_limit: "It runs at the pace the upstream's limit allows.",
  upstream: "It runs as fast as the upstream answers.",
  breaker: "The upstream is being left alone for a moment.",
  lease: "It waits for a worker that is gone.",
  hold: "It is held.",
  approval: "It waits for your approval.",
};
export const boundBy = (word) => (word ? BINDS[word] ?? `It is bound by: ${spaced(word)}.` : "");

export const QUOTE_BINDS = {
  requests: "the limit of requests",
  tokens: "the limit of tokens",
  concurrency: "how many requests run at once",
  upstream: "the upstream alone",
};

const sentence = (text) => (/[.!?…]$/.test(text) ? text : `${text}.`);

// How a session stands and what to do next, each a sentence or two.
export function standing(status) {
  const reason = status.error_message || status.pause_reason;
  const failed = status.failed ? counted(status.failed, "row") : "";
  switch (status.status) {
    case "uploading":
      return { what: "Announced; its file is not there yet." };
    case "processing":
      return { what: `The file is being read. ${waiting(status) || "Rows run as soon as they are known."}` };
    case "quoted":
      return {
        what: reason ? sentence(reason) : "Read and quoted; nothing has been asked or paid yet.",
        next: "Look at the quote, then approve it or cancel.",
      };
    case "enriching":
      if (!status.open) return { what: "Every row is settled; the results are being written." };
      return { what: waiting(status) || "Rows are being enriched. It goes on without this page." };
    case "paused": {
      const running = status.running ? ` ${counted(status.running, "row is", "rows are")} still under way and will be kept.` : "";
      return {
        what: sentence(capital(reason || "paused")) + running,
        next: budgetHolds(status) ? "Resume it with a higher budget, or cancel." : "Resume it when you are ready.",
      };
    }
    case "failed":
      return {
        what: sentence(reason || "The session failed"),
        next: stoppedEarly(status)
          ? "See why below. Resume it to run what is left, or reprocess what failed."
          : "What was done is kept. Mend the file and upload it again.",
      };
    case "cancelled":
      return { what: "Stopped for good. What was done is kept; what waited was not asked." };
    default:
      return {
        what: `Everything is settled and the results are written.`,
        next: [
          status.needs_review && `${counted(status.needs_review, "film needs", "films need")} a look: choose which it is.`,
          failed && `${failed} failed: see why, then reprocess.`,
          status.rejected &&
            `${counted(status.rejected, "row was", "rows were")} rejected: download the rejects, mend and upload them.`,
        ].filter(Boolean).join(" "),
      };
  }
}

function waiting(status) {
  if (status.bound_by === "lease")
    return `${counted(status.open, "row waits", "rows wait")} for a worker that is gone; they run again within three minutes.`;
  if (status.breaker) {
    const probe = status.breaker.next_probe_at ? ` The next try is at ${clock(status.breaker.next_probe_at)}.` : "";
    return `${sentence(status.breaker.reason)} It goes on by itself once the upstream answers again.${probe}`;
  }
  return "";
}

// What a row is called, and what became of it in a line.
export function rowName(row) {
  const input = row.input ?? {};
  const name = input.artist_name ?? input.name ?? input.title;
  if (name) return input.year ? `${name} (${input.year})` : String(name);
  if (row.key) return row.key;
  const record = input.record?.find?.((cell) => cell);
  return record ? String(record) : `Row ${number(row.item_no)}`;
}

export function rowSays(row) {
  if (row.error_message) return row.error_message;
  const result = row.result ?? {};
  if (result.text) return result.text;
  if (result.candidates?.length) return `${counted(result.candidates.length, "film")} of TMDB may be meant, none for certain.`;
  if (result.asset) return fileSays(result);
  if (result.title) return [yearly(result), (result.genres ?? []).join(", "), (result.directors ?? []).join(", ")].filter(Boolean).join(" · ");
  if (row.parent) return `${row.outcome === "duplicate" ? "Same as" : "Part of"} item ${number(row.parent)}`;
  return row.code ? capital(spaced(row.code.replace(/^.*\./, ""))) : "";
}

export function yearly(film) {
  const year = film.year ?? (film.release_date ?? "").slice(0, 4);
  return year ? `${film.title} (${year})` : film.title;
}

// Of a file that was fetched: its name and size; of a list what it holds.
function fileSays({ asset, expanded }) {
  if (expanded) return `Holds ${counted(expanded, "file")}.`;
  return [asset.filename, asset.file_size_bytes === undefined ? null : bytes(asset.file_size_bytes)].filter(Boolean).join(" · ");
}
