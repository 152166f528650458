// Files on their way to Rowlift: through the API, or straight to the bucket where that is offered.
import { post, Problem, problemOf, Unreachable } from "./api.js";

const TRIES = 8;
const FIRST_WAIT = 1000;

// Send the files; answers the API's document. `told({ sent, total, waiting })` is called as it goes.
export function send({ direct, ...order }) {
  return direct ? sendDirect(order) : sendForm(order);
}

async function sendForm({ files, pipeline, exportName, options, signal, told }) {
  const form = new FormData(); // what is asked comes first: it can be refused before the files are read
  form.append("pipeline", pipeline);
  if (exportName) form.append("export", exportName);
  for (const [name, value] of Object.entries(options)) form.append(name, value);
  for (const file of files) form.append("file", file.body, file.name);
  const found = await request("POST", "/api/upload", { body: form, signal, told });
  if (found.status >= 300) throw problemOf(found.status, found.responseText);
  return JSON.parse(found.responseText);
}

// Files that are no export are a session each; answers the document of the last.
async function sendDirect({ files, pipeline, exportName, options, signal, told }) {
  const total = files.reduce((sum, file) => sum + file.body.size, 0);
  let before = 0;
  let taken;
  for (const together of exportName ? [files] : files.map((file) => [file])) {
    const named = together.map((file) => ({ name: file.name, size: file.body.size }));
    taken = await post("/api/upload/direct", { pipeline, ...(exportName ? { export: exportName } : {}), options, files: named });
    for (const [at, place] of taken.files.entries()) {
      const { body } = together[at];
      await sendWhole(place, body, { signal, told: (now) => told({ ...now, sent: before + now.sent, total }) });
      before += body.size;
    }
  }
  return taken;
}

// Put one file to its place, going on where a lost connection broke it off.
async function sendWhole({ url, method, headers }, body, { signal, told }) {
  let start = 0;
  for (let tries = 0; ; tries++) {
    try {
      const range = start ? { "Content-Range": `bytes ${start}-${body.size - 1}/${body.size}` } : {};
      const found = await request(method, url, {
        body: start ? body.slice(start) : body,
        headers: { ...headers, ...range },
        signal,
        told: (now) => told({ ...now, sent: start + now.sent }),
      });
      if (found.status < 300) return;
      if (found.status < 500 && found.status !== 308 && found.status !== 429) throw refused(found);
    } catch (error) {
      if (!(error instanceof Unreachable)) throw error;
    }
    if (tries >= TRIES) throw new Unreachable();
    told({ sent: start, waiting: true });
    await pause(Math.min(30_000, FIRST_WAIT * 2 ** tries), signal);
    const stands = await arrived(url, method, body.size, signal);
    if (stands === null) return;
    if (stands > start) tries = 0;
    start = stands;
  }
}

// How many bytes of a broken upload have arrived; null: all. One that cannot be asked counts as no news: from the start.
async function arrived(url, method, size, signal) {
  try {
    const found = await request(method, url, { headers: { "Content-Range": `bytes */${size}` }, signal });
    if (found.status < 300) return null;
    if (found.status !== 308 && found.status < 500) throw refused(found);
    const last = /-(\d+)$/.exec(found.getResponseHeader("Range") ?? "");
    return last ? Number(last[1]) + 1 : 0; // what is sent twice is ignored by the bucket
  } catch (error) {
    if (!(error instanceof Unreachable)) throw error;
    return 0;
  }
}

function refused(found) {
  const detail = `The bucket refused the file (${found.status}). Upload it again.`;
  return new Problem(found.status, { title: "The upload was refused", detail });
}

// XMLHttpRequest, because fetch does not tell how much has left.
function request(method, url, { body = null, headers = {}, signal, told }) {
  return new Promise((resolve, reject) => {
    const asked = new XMLHttpRequest();
    asked.open(method, url);
    for (const [name, value] of Object.entries(headers)) asked.setRequestHeader(name, value);
    if (told) asked.upload.onprogress = (event) => told({ sent: event.loaded, total: event.total });
    const stop = () => asked.abort();
    signal?.addEventListener("abort", stop);
    const end = (settle) => () => {
      signal?.removeEventListener("abort", stop);
      settle();
    };
    asked.onload = end(() => resolve(asked));
    asked.onerror = end(() => reject(new Unreachable()));
    asked.onabort = end(() => reject(new DOMException("stopped", "AbortError")));
    asked.send(body);
  });
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("stopped", "AbortError"));
    });
  });
}
