// Small pieces of the page that several others are made of.
import { html, useEffect, useRef, useState } from "./preact.js";
import { capital, OUTCOMES, outcomeWord, standsAs, TONES } from "./words.js";

// Say it to those who cannot see the page; the same sentence twice in a row is said once.
export function speak(text) {
  const place = document.getElementById("spoken");
  if (place.textContent !== text) place.textContent = text;
}

export const StatusBadge = ({ status }) =>
  html`<span class="badge ${TONES[status] ?? "mute"}"><span class="dot" aria-hidden="true"></span>${capital(status)}</span>`;

export const OutcomeBadge = ({ row }) =>
  html`<span class="badge plain"><${Swatch} outcome=${row.outcome} />${capital(standsAs(row))}</span>`;

export const Swatch = ({ outcome }) =>
  html`<svg class="swatch" viewBox="0 0 10 10" aria-hidden="true"><rect class=${fill(outcome)} width="10" height="10" rx="3" /></svg>`;

export const fill = (outcome) => (OUTCOMES.includes(outcome) ? `fill-${outcome}` : "fill-open");
export const outcomeTitle = (outcome) => capital(outcomeWord(outcome));

export const Card = ({ title, id, extra, children, wide, tone }) => html`
  <section class="card ${wide ? "full" : ""} ${tone ?? ""}" aria-labelledby=${`${id}-title`} id=${id}>
    <header><h2 id=${`${id}-title`} tabindex="-1">${title}</h2>${extra}</header>
    ${children}
  </section>`;

// A refusal, its faults one by one.
export function Refusal({ error, children }) {
  if (!error) return null;
  return html`<div class="refusal" role="alert">
    <strong>${error.title ?? "That did not work"}</strong>
    ${error.faults?.length > 1
      ? html`<ul>${error.faults.map((fault) => html`<li>${fault.field}: ${fault.message}</li>`)}</ul>`
      : html`<p>${error.message}</p>`}
    ${children}
  </div>`;
}

// Says that the API does not answer, and counts down to the next try.
export function Outage({ outage, again }) {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    if (!outage) return undefined;
    const timer = setInterval(() => setNow(Date.now()), 500);
    return () => clearInterval(timer);
  }, [outage]);
  if (!outage) return null;
  const seconds = Math.max(0, Math.ceil((outage.until - Math.max(now, Date.now() - 500)) / 1000));
  return html`<div class="outage">
    <p role="status">${outage.error.message} What you see may be old; what runs goes on without this page.</p>
    <p><span aria-hidden="true">Trying again in ${seconds} s.</span>
    <button class="small" onClick=${again}>Try now</button></p>
  </div>`;
}

// A modal dialog: Escape closes it, and the focus returns to where it was.
export function Dialog({ title, close, children, kind = "" }) {
  const place = useRef();
  useEffect(() => {
    const before = document.activeElement;
    const dialog = place.current;
    dialog.showModal();
    dialog.querySelector("h2").focus();
    return () => {
      dialog.close(); // nothing outside can have the focus before
      if (before?.isConnected) before.focus();
    };
  }, []);
  const closed = (event) => {
    if (event.target === place.current) close(); // the backdrop, or the dialog's own close event
  };
  return html`<dialog ref=${place} class=${kind} aria-labelledby="dialog-title" onClose=${closed}
    onCancel=${(event) => { event.preventDefault(); close(); }} onClick=${closed}>
    <div class="inner">
      <header><h2 id="dialog-title" tabindex="-1">${title}</h2>
        <button class="icon" aria-label="Close" onClick=${close}>
          <svg viewBox="0 0 16 16" aria-hidden="true"><path d="m3 3 10 10M13 3 3 13" /></svg></button></header>
      ${children}
    </div>
  </dialog>`;
}

export const Pages = ({ label, previous, next, children, previousWord = "Previous", nextWord = "Next" }) => html`
  <nav class="pages" aria-label=${label}>
    <button class="small" onClick=${previous} disabled=${!previous}>${previousWord}</button>
    <span class="quiet">${children}</span>
    <button class="small" onClick=${next} disabled=${!next}>${nextWord}</button>
  </nav>`;

export const Fact = ({ name, children }) =>
  children === null || children === undefined || children === "" ? null : html`<div><dt>${name}</dt><dd>${children}</dd></div>`;
