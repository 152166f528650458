// One row with all there is of it, in a dialog.
import { html } from "./preact.js";
import { get, sessionPath } from "./api.js";
import { Match } from "./match.js";
import { Dialog, Fact, OutcomeBadge, Refusal } from "./parts.js";
import { useFresh } from "./polling.js";
import { bytes, capital, clock, counted, moment, money, number, outcomeWord, restOf, rowName, spaced, yearly } from "./words.js";

export function RowDialog({ status, item, open, close, again }) {
  const id = status.session_id;
  const path = sessionPath(id, `/items/${item}`);
  const { value: row, error, again: look } = useFresh((signal) => get(path, { signal }), path, `${status.open} ${status.needs_review}`, restOf(status));
  return html`<${Dialog} title=${row ? rowName(row) : `Row ${number(item)}`} close=${close} kind="drawer">
    <${Refusal} error=${row ? null : error} />
    ${row ? html`<${Row} row=${row} id=${id} open=${open} close=${close} changed=${() => { again(); look(); }} />` : html`<p class="quiet">Loading …</p>`}
  </${Dialog}>`;
}

function Row({ row, id, open, close, changed }) {
  return html`
    <p class="badges"><${OutcomeBadge} row=${row} />${row.code ? html` <code class="quiet">${row.code}</code>` : null}
      ${row.parent ? html` <button class="small" onClick=${() => open(row.parent)}>Open item ${number(row.parent)}, which it belongs to</button>` : null}</p>
    ${row.error_message ? html`<div class="refusal"><strong>${row.error_code ?? "Error"}</strong><p>${row.error_message}</p></div>` : null}
    ${row.outcome === "needs_review" && row.result?.candidates?.length ? html`<${Match} id=${id} row=${row} done=${() => { changed(); close(); }} />` : null}
    <${Answer} result=${row.result} />
    <h3>Row</h3>
    <dl class="facts">
      <${Fact} name="Item">${number(row.item_no)}</${Fact}>
      <${Fact} name="Line of its file">${row.line ? number(row.line) : null}</${Fact}>
      <${Fact} name="Key"><span class="long">${row.key}</span></${Fact}>
      <${Fact} name="Settled">${row.finalized_at ? moment(row.finalized_at) : null}</${Fact}>
      <${Fact} name="Due again">${row.due_at ? clock(row.due_at) : null}</${Fact}>
      <${Fact} name="Attempts">${row.attempt ? number(row.attempt) : null}</${Fact}>
      <${Fact} name="Round">${row.round > 1 ? number(row.round) : null}</${Fact}>
      ${Object.entries(row.input ?? {}).filter(([, value]) => value !== null && value !== "")
        .map(([name, value]) => html`<${Fact} name=${capital(spaced(name))}><span class="long">${shown(value)}</span></${Fact}>`)}
    </dl>
    <${History} rounds=${row.history ?? []} />
    <${Calls} calls=${row.calls ?? []} />
    <details class="more"><summary>As JSON</summary><pre tabindex="0">${JSON.stringify(row, null, 2)}</pre></details>`;
}

function shown(value) {
  if (Array.isArray(value) && value.every((one) => typeof one !== "object")) return value.join(", ");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

function Answer({ result }) {
  if (result?.text) return html`<section aria-label="Answer"><h3>Answer</h3>
    ${result.text.split(/\n{2,}/).map((part) => html`<p class="prose">${part}</p>`)}
    <p class="quiet">${[result.model, result.prompt].filter(Boolean).join(", ")}</p></section>`;
  if (result?.asset) return html`<${File} asset=${result.asset} />`;
  if (!result?.tmdb_id || !result.title) return null;
  const original = result.original_title && result.original_title !== result.title ? result.original_title : null;
  return html`<section aria-label="Film"><h3>${yearly(result)}</h3>
    ${result.overview ? html`<p class="prose">${result.overview}</p>` : null}
    <dl class="facts">
      <${Fact} name="Original title">${original}</${Fact}>
      <${Fact} name="Directed by">${(result.directors ?? []).join(", ")}</${Fact}>
      <${Fact} name="Genres">${(result.genres ?? []).join(", ")}</${Fact}>
      <${Fact} name="With">${(result.cast ?? []).slice(0, 6).map((one) => one.name ?? one).join(", ")}</${Fact}>
      <${Fact} name="Runs">${result.runtime ? `${number(result.runtime)} min` : null}</${Fact}>
      <${Fact} name="TMDB">${result.tmdb_rating ? `${result.tmdb_rating.toFixed(1)} of 10, ${counted(result.tmdb_votes ?? 0, "vote")}` : null}</${Fact}>
    </dl></section>`;
}

// Only what lies in the media bucket can be downloaded; the API sends on to the bucket, or streams.
const File = ({ asset }) => html`<section aria-label="File"><h3>${asset.filename ?? capital(spaced(asset.asset_type))}</h3>
  <dl class="facts">
    <${Fact} name="Kind">${asset.content_type ?? capital(spaced(asset.asset_type))}</${Fact}>
    <${Fact} name="Size">${asset.file_size_bytes === undefined ? null : bytes(asset.file_size_bytes)}</${Fact}>
    <${Fact} name="SHA-256"><span class="long">${asset.sha256}</span></${Fact}>
    <${Fact} name="From"><span class="long">${asset.original_url}</span></${Fact}>
  </dl>
  ${asset.cloud_storage_url ? html`<p><a href=${`/api/assets/${asset.asset_id}/file`} download>Download</a></p>` : null}</section>`;

const History = ({ rounds }) =>
  rounds.length
    ? html`<h3>Earlier rounds</h3><ul class="audit">${rounds.map((one) => html`<li>
        <strong>Round ${number(one.round)}: ${outcomeWord(one.outcome ?? "")}</strong>
        <span class="quiet"> ${moment(one.finalized_at)} ${one.error_message ?? ""}</span></li>`)}</ul>`
    : null;

const Calls = ({ calls }) =>
  calls.length
    ? html`<h3>Calls</h3><ul class="audit">${calls.map((call) => html`<li key=${call.id}>
        <strong>${capital(call.state)}</strong>, ${call.cost_usd === null ? `${money(call.reserved_usd)} reserved` : money(call.cost_usd)}
        <span class="quiet"> ${[call.model, call.tokens_in !== null ? `${number(call.tokens_in)} tokens in, ${number(call.tokens_out ?? 0)} out` : "",
          clock(call.started_at), call.round > 1 ? `round ${call.round}` : "", call.error_code].filter(Boolean).join(" · ")}</span></li>`)}</ul>`
    : null;
