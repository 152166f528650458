// What may be done to a session, each with its question where it needs one, and its refusal where it stands.
import { html, useState } from "./preact.js";
import { post, sessionPath } from "./api.js";
import { Dialog, Refusal, speak, Swatch } from "./parts.js";
import {
  budgetHolds, capital, counted, MEANING, money, number, outcomeWord, REPROCESSABLE, stoppedEarly, works,
} from "./words.js";

export function Actions({ status, again, show }) {
  const [asking, setAsking] = useState(null);
  const [busy, setBusy] = useState(null);
  const [error, setError] = useState(null);
  const act = async (what, body, said) => {
    setBusy(what);
    setError(null);
    try {
      const answer = await post(sessionPath(status.session_id, `/${what}`), body);
      setAsking(null);
      speak(typeof said === "function" ? said(answer) : said);
      again();
    } catch (refusal) {
      setError(refusal);
    }
    setBusy(null);
  };
  const ask = (what) => () => {
    setError(null);
    setAsking(what);
  };
  const may = allowed(status);
  const asks = budgetHolds(status) || stoppedEarly(status); // what is held by a person goes on as it was
  const close = () => setAsking(null);
  const shared = { status, act, busy, close, error };
  return html`
    <div class="actions" role="group" aria-label="Actions">
      ${may.approve ? html`<button class="primary" disabled=${busy} onClick=${() => act("approve", {}, "Approved.")}>Approve${likely(status)}</button>` : null}
      ${may.resume ? html`<button class="primary" disabled=${busy}
        onClick=${asks ? ask("resume") : () => act("resume", {}, "Resumed.")}>Resume${asks ? " …" : ""}</button>` : null}
      ${may.review ? html`<button class="primary" onClick=${() => show({ outcome: "needs_review" })}>Show what needs a look</button>` : null}
      ${may.pause ? html`<button disabled=${busy} onClick=${() => act("pause", {}, "Paused.")}>Pause</button>` : null}
      ${may.reprocess ? html`<button disabled=${busy} onClick=${ask("reprocess")}>Reprocess …</button>` : null}
      ${may.cancel ? html`<button class="danger" disabled=${busy} onClick=${ask("cancel")}>Cancel …</button>` : null}
    </div>
    ${asking ? null : html`<${Refusal} error=${error} />`}
    ${asking === "cancel" ? html`<${Cancel} ...${shared} />` : null}
    ${asking === "resume" ? html`<${Resume} ...${shared} />` : null}
    ${asking === "reprocess" ? html`<${Reprocess} ...${shared} />` : null}`;
}

function allowed(status) {
  const working = works(status);
  return {
    approve: status.status === "quoted",
    resume: status.status === "paused" || stoppedEarly(status),
    pause: working && status.open > 0,
    cancel: working || ["paused", "quoted"].includes(status.status),
    review: status.needs_review > 0 && status.pipeline === "movies" && !working,
    reprocess:
      !["uploading", "processing", "quoted", "cancelled"].includes(status.status) && REPROCESSABLE.some((name) => status[name]),
  };
}

const likely = ({ quote }) => (quote?.usd?.likely ? ` for about ${money(quote.usd.likely)}` : "");

const Buttons = ({ close, busy, children, keep = "Back" }) => html`<div class="actions">
  ${children}<button type="button" disabled=${busy} onClick=${close}>${keep}</button></div>`;

const Cancel = ({ status, act, busy, close, error }) => html`<${Dialog} title="Cancel this session?" close=${close}>
  <p>${status.open ? `${counted(status.open, "row")} will not be asked.` : "Nothing more will be asked."} What is done stays and can be
    downloaded. This is for good: a cancelled session cannot be resumed.</p>
  <${Refusal} error=${error} />
  <${Buttons} close=${close} busy=${busy} keep="Keep it">
    <button class="danger solid" disabled=${busy} onClick=${() => act("cancel", {}, "Cancelled.")}>Cancel the session</button></${Buttons}>
</${Dialog}>`;

function Resume({ status, act, busy, close, error }) {
  const least = status.spent_usd + status.reserved_usd;
  const twice = Number(((status.budget_usd ?? 0) * 2 || 1).toPrecision(6));
  const [budget, setBudget] = useState(status.budget_usd === null ? "" : String(twice));
  const wanted = Number(budget.replace(/^\$/, ""));
  const wrong = budget !== "" && !(wanted >= 0 && Number.isFinite(wanted));
  const go = (event) => {
    event.preventDefault();
    act("resume", budget === "" ? {} : { budget_usd: wanted }, "Resumed.");
  };
  return html`<${Dialog} title="Resume this session" close=${close}><form onSubmit=${go}>
    <p>${stoppedEarly(status)
      ? `It stopped because ${counted(status.failed, "row")} failed. Resuming runs what is left, whatever fails.`
      : `${money(status.spent_usd)} is spent${status.reserved_usd ? ` and ${money(status.reserved_usd)} reserved` : ""} of a budget of ${money(status.budget_usd)}.`}
      ${" "}${counted(status.open, "row waits", "rows wait")}.</p>
    <div class="field"><label for="new-budget">New budget in dollars, all in all</label>
      <input id="new-budget" type="text" inputmode="decimal" value=${budget} onInput=${(event) => setBudget(event.target.value.trim())}
        aria-invalid=${wrong || error ? "true" : undefined} aria-describedby="new-budget-help" autocomplete="off" />
      <p class="help" id="new-budget-help">More than ${money(least)}; left empty, the budget stays as it is.</p></div>
    <${Refusal} error=${error} />
    <${Buttons} close=${close} busy=${busy}><button class="primary" disabled=${busy || wrong}>Resume</button></${Buttons}>
  </form></${Dialog}>`;
}

function Reprocess({ status, act, busy, close, error }) {
  const there = REPROCESSABLE.filter((name) => status[name]);
  const [picked, setPicked] = useState(there.filter((name) => name === "failed"));
  const count = picked.reduce((sum, name) => sum + status[name], 0);
  const each = status.enriched ? status.spent_usd / status.enriched : 0;
  const costs = each ? `, for about ${money(Number((each * count).toFixed(6)))} at what a row has cost so far` : "";
  const toggle = (name) => setPicked(picked.includes(name) ? picked.filter((one) => one !== name) : [...picked, name]);
  const go = (event) => {
    event.preventDefault();
    act("reprocess", { outcomes: picked }, (answer) => `${counted(answer.opened, "row runs", "rows run")} again.`);
  };
  return html`<${Dialog} title="Reprocess rows" close=${close}><form onSubmit=${go}>
    <p>The rows you choose are asked, and where it costs money paid for, anew. How they ended before is kept in their history.</p>
    <fieldset class="lines"><legend>Which rows</legend>
      ${there.map((name) => html`<label key=${name} class="line ${picked.includes(name) ? "on" : ""}">
        <input type="checkbox" value=${name} checked=${picked.includes(name)} onChange=${() => toggle(name)} />
        <span><${Swatch} outcome=${name} /> <strong>${capital(outcomeWord(name))}</strong>, ${number(status[name])}
          <span class="quiet">${MEANING[name]}</span></span></label>`)}
    </fieldset>
    <p role="status">${count ? `${counted(count, "row")} will run again${costs}.` : "Choose at least one kind."}</p>
    <${Refusal} error=${error} />
    <${Buttons} close=${close} busy=${busy}>
      <button class="primary" disabled=${busy || !count}>Reprocess ${count ? counted(count, "row") : ""}</button></${Buttons}>
  </form></${Dialog}>`;
}
