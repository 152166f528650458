// Files dropped or chosen, what is to become of them, and how far they are on their way.
import { html, useEffect, useRef, useState } from "./preact.js";
import { Problem } from "./api.js";
import { chosen, Options, optionsFor } from "./options.js";
import { Refusal, speak } from "./parts.js";
import { send } from "./sending.js";
import { bytes, capital, counted, duration, number } from "./words.js";

export function Upload({ offer }) {
  const [files, setFiles] = useState([]);
  const [over, setOver] = useState(false);
  const heading = useRef();
  const take = (more) => {
    if (!more.length) return;
    setFiles((before) => [...before.filter((file) => !more.some((one) => one.name === file.name)), ...more]);
    speak(`${counted(more.length, "file")} chosen.`);
  };
  useEffect(() => {
    if (files.length) heading.current?.focus();
  }, [Boolean(files.length)]);
  useEffect(() => {
    // A file that misses the zone must not replace the page.
    const hold = (event) => event.dataTransfer?.types.includes("Files") && event.preventDefault();
    addEventListener("dragover", hold);
    addEventListener("drop", hold);
    return () => {
      removeEventListener("dragover", hold);
      removeEventListener("drop", hold);
    };
  }, []);
  const dropped = async (event) => {
    event.preventDefault();
    setOver(false);
    take(await filesOf(event.dataTransfer));
  };
  return html`<section class="card drop ${over ? "over" : ""}" aria-labelledby="upload-title" id="upload"
      onDragEnter=${() => setOver(true)} onDragOver=${(event) => { event.preventDefault(); setOver(true); }}
      onDragLeave=${(event) => event.currentTarget.contains(event.relatedTarget) || setOver(false)} onDrop=${dropped}>
    <div class="zone">
      <svg class="cloud" viewBox="0 0 48 48" aria-hidden="true"><path d="M24 34V16m0 0-7 7m7-7 7 7M10 34v4h28v-4" /></svg>
      <div>
        <h2 id="upload-title" tabindex="-1" ref=${heading}>
          ${files.length ? `${counted(files.length, "file")} to upload` : "Drop CSV files or a ZIP here"}</h2>
        <p class="quiet">${files.length ? "Drop more, or go on below." : "Each row is enriched once, paid for at most once, accounted for always."}</p>
      </div>
      <div class="choose">
        <${Chooser} id="choose-files" label="Choose files" take=${take} multiple accept=${accepted(offer)} />
        <${Chooser} id="choose-folder" label="Choose a folder" take=${take} webkitdirectory />
      </div>
    </div>
    ${files.length && offer ? html`<${Order} offer=${offer} files=${files} setFiles=${setFiles} />` : null}
    ${files.length && !offer ? html`<p class="quiet">Asking what there is to choose from …</p>` : null}
  </section>`;
}

const accepted = (offer) => [...new Set((offer?.pipelines ?? []).flatMap((one) => one.accepts))].join(",") || undefined;

function Chooser({ id, label, take, ...more }) {
  const changed = (event) => {
    take([...event.target.files].map((body) => ({ body, name: body.webkitRelativePath || body.name })).filter(wanted));
    event.target.value = ""; // so that the same file can be chosen again
  };
  return html`<span class="chooser"><input type="file" id=${id} class="unseen" onChange=${changed} ...${more} />
    <label class="button ${more.multiple ? "primary" : ""}" for=${id}>${label}</label></span>`;
}

const wanted = (file) => !/(^|\/)(\.|__MACOSX\/)/.test(file.name); // what systems leave in folders

// The files of a drop, those in folders by their path.
async function filesOf(data) {
  const entries = [...data.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const found = entries.length ? (await Promise.all(entries.map(walked))).flat() : [...data.files].map((body) => ({ body, name: body.name }));
  return found.filter(wanted);
}

async function walked(entry) {
  if (entry.isFile) {
    const body = await new Promise((resolve, reject) => entry.file(resolve, reject));
    return [{ body, name: entry.fullPath.replace(/^\//, "") || body.name }];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) { // a reader answers at most a hundred at a time
    const batch = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!batch.length) return (await Promise.all(found.map(walked))).flat();
    found.push(...batch);
  }
}

function Order({ offer, files, setFiles }) {
  const [pipeline, setPipeline] = useState(null);
  const [values, setValues] = useState({});
  const [named, setNamed] = useState(null);
  const [sending, setSending] = useState(null); // { sent, total, began, waiting }
  const [error, setError] = useState(null);
  const stop = useRef();
  const guessed = useGuess(offer, files);
  const slug = pipeline ?? guessed ?? offer.pipelines[0]?.slug;
  const line = offer.pipelines.find((one) => one.slug === slug);
  const options = optionsFor(offer, slug);
  const exportName = line?.groups_files ? named ?? exportOf(files) : null;
  const { byField, rest } = faultsOf(error, options);
  const total = files.reduce((sum, file) => sum + file.body.size, 0);
  const large = !offer.direct_uploads && total > offer.max_upload_bytes;

  useEffect(() => {
    const before = sending ? (event) => event.preventDefault() : null;
    if (before) addEventListener("beforeunload", before);
    return () => before && removeEventListener("beforeunload", before);
  }, [Boolean(sending)]);
  useEffect(() => () => stop.current?.abort(), []);
  useEffect(() => {
    if (error) document.querySelector("[aria-invalid=true], #upload .refusal")?.focus();
  }, [error]);

  const go = async (event) => {
    event.preventDefault();
    stop.current = new AbortController();
    setError(null);
    setSending({ sent: 0, total, began: Date.now() });
    try {
      const taken = await send({
        files, pipeline: slug, exportName, options: chosen(options, values), direct: offer.direct_uploads, signal: stop.current.signal,
        told: (now) => setSending((before) => before && { ...before, waiting: false, ...now }),
      });
      stop.current = null;
      setSending(null);
      setFiles([]);
      location.hash = `#/session/${taken.session_id}`;
      speak("Uploaded.");
    } catch (refusal) {
      setSending(null);
      if (refusal.name !== "AbortError") setError(refusal);
    }
  };

  return html`<form class="order" onSubmit=${go} aria-busy=${sending ? "true" : "false"}>
    <fieldset disabled=${Boolean(sending)}>
      <ul class="files" aria-label="Files to upload">
        ${files.map((file) => html`<li key=${file.name}><span class="name">${file.name}</span>
          <span class="quiet">${bytes(file.body.size)}</span>
          <button type="button" class="icon" aria-label=${`Remove ${file.name}`}
            onClick=${() => setFiles(files.filter((one) => one !== file))}>
            <svg viewBox="0 0 16 16" aria-hidden="true"><path d="m3 3 10 10M13 3 3 13" /></svg></button></li>`)}
      </ul>
      ${byField.file ? html`<p class="fault" role="alert">${byField.file}</p>` : null}
      ${large ? html`<p class="fault" role="alert">Together these are ${bytes(total)}; this Rowlift takes
        ${" "}${bytes(offer.max_upload_bytes)} at a time. Put larger files into its upload bucket.</p>` : null}
      <fieldset class="lines">
        <legend>Pipeline</legend>
        ${offer.pipelines.map((one) => html`<label key=${one.slug} class="line ${one.slug === slug ? "on" : ""}">
          <input type="radio" name="pipeline" value=${one.slug} checked=${one.slug === slug} onChange=${() => setPipeline(one.slug)} />
          <span><strong>${headOf(one)}</strong>${one.slug === guessed ? html` <span class="badge plain">looks right</span>` : null}
          <span class="quiet">${lineSays(one)}</span></span></label>`)}
        ${byField.pipeline ? html`<p class="fault">${byField.pipeline}</p>` : null}
      </fieldset>
      ${exportName === null ? null : html`<div class="field"><label for="export">Name of the export</label>
        <input id="export" type="text" value=${exportName} maxlength="100" autocomplete="off" spellcheck="false" aria-describedby="export-help"
          aria-invalid=${byField.export ? "true" : undefined} onInput=${(event) => setNamed(event.target.value)} />
        ${byField.export ? html`<p class="fault">${byField.export}</p>` : null}
        <p class="help" id="export-help">Files of one name are one session, whenever they come; a new name begins a new one.</p></div>`}
      <${Options} options=${options} values=${values} faults=${byField}
        set=${(name, value) => setValues((before) => ({ ...before, [name]: value }))} />
    </fieldset>
    <${Refusal} error=${rest} />
    ${sending
      ? html`<${Sending} sending=${sending} total=${total} cancel=${() => stop.current?.abort()} />`
      : html`<div class="actions"><button class="primary" disabled=${large || !files.length}>Upload ${bytes(total)}</button>
          <button type="button" onClick=${() => setFiles([])}>Clear</button>
          ${line?.paid ? html`<span class="quiet">${costOf(line)}</span>` : null}</div>`}
  </form>`;
}

// What an export is called before a person names it: as its folder or its ZIP is, else by the time.
function exportOf(files) {
  const folder = files.map((file) => file.name.split("/")).find((parts) => parts.length > 1)?.[0];
  const archive = files.find((file) => /\.zip$/i.test(file.name))?.name.replace(/^.*\//, "").slice(0, -4);
  if (archive || (folder && folder !== "likes")) return archive || folder;
  const pad = (part) => String(part).padStart(2, "0");
  const now = new Date();
  return `letterboxd-${now.getFullYear()}-${pad(now.getMonth() + 1)}-${pad(now.getDate())}-${pad(now.getHours())}${pad(now.getMinutes())}`;
}

const headOf = (line) => line.title.split(": ")[0];

function lineSays(line) {
  const about = line.title.split(": ")[1];
  const columns = line.columns?.length ? `Columns ${line.columns.join(", ")}.` : "";
  return [about ? `${capital(about)}.` : "", columns, line.paid ? "" : "Costs nothing."].filter(Boolean).join(" ");
}

const costOf = (line) =>
  line.simulated ? "The upstream is simulated: nothing is paid." : "Each row may cost money; a budget caps it.";

function Sending({ sending, total, cancel }) {
  const whole = sending.total || total;
  const share = whole ? Math.min(1, sending.sent / whole) : 0;
  const seconds = (Date.now() - sending.began) / 1000;
  const speed = seconds > 0.5 ? sending.sent / seconds : 0;
  const says = sending.waiting
    ? "The connection was lost; trying again …"
    : share >= 1
      ? "Everything is sent; it is being stored …"
      : `${bytes(sending.sent)} of ${bytes(whole)}${speed ? `, ${bytes(speed)}/s, ${duration((whole - sending.sent) / speed)} left` : ""}`;
  return html`<div class="sending">
    <progress max="1" value=${share} aria-label="Upload"></progress>
    <p><strong>${number(Math.floor(share * 100))} %</strong> <span class="quiet">${says}</span></p>
    <button type="button" onClick=${cancel}>Stop the upload</button>
  </div>`;
}

// Which pipeline the files look like: by their columns, else by what they are.
function useGuess(offer, files) {
  const [guess, setGuess] = useState(null);
  useEffect(() => {
    let current = true;
    guessOf(offer, files).then((slug) => current && setGuess(slug));
    return () => { current = false; };
  }, [offer, files]);
  return guess;
}

const EXPORT_NAMES = /(^|\/)(watched|watchlist|ratings|diary|reviews|films)\.csv$/i;

async function guessOf(offer, files) {
  const grouping = offer.pipelines.find((one) => one.groups_files)?.slug;
  if (files.some((file) => /\.zip$/i.test(file.name) || EXPORT_NAMES.test(file.name))) return grouping ?? null;
  const ends = (one) => files.every((file) => one.accepts.some((end) => file.name.toLowerCase().endsWith(end)));
  const fitting = offer.pipelines.filter(ends);
  const head = await files[0].body.slice(0, 4096).text().catch(() => "");
  const cells = new Set(head.split(/\r?\n/, 1)[0].split(/[,;\t]/).map((cell) => cell.replaceAll(/["\uFEFF]/g, "").trim().toLowerCase()));
  const known = (one) => (one.columns ?? []).filter((column) => cells.has(column.toLowerCase())).length;
  return fitting.toSorted((one, other) => known(other) - known(one))[0]?.slug ?? null;
}

// The faults of a refusal by the field they belong beside, and what is left to say of it.
function faultsOf(error, options) {
  const byField = {};
  if (!(error instanceof Problem)) return { byField, rest: error };
  const left = error.faults.filter(({ field, message }) => {
    const name = field === "options" ? /^(?:Unknown o|O)ption '([a-z-]+)'/.exec(message)?.[1] : field.replaceAll("_", "-");
    if (!["file", "pipeline", "export"].includes(name) && !options.some((option) => option.name === name)) return true;
    byField[name] = capital(message);
    return false;
  });
  return { byField, rest: error.faults.length && !left.length ? null : Object.assign(error, { faults: left }) };
}
