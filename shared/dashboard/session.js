// One session: how it stands, what it costs, what failed, its rows, and what may be done to it.
import { html, useCallback, useEffect, useRef, useState } from "./preact.js";
import { get, sessionPath } from "./api.js";
import { Actions } from "./actions.js";
import { ErrorGroups } from "./errors.js";
import { Films } from "./films.js";
import { Money, Quote } from "./money.js";
import { Card, Fact, Outage, Refusal, speak, StatusBadge } from "./parts.js";
import { useFresh, usePoll } from "./polling.js";
import { Progress, Speed } from "./progress.js";
import { RowDialog } from "./row.js";
import { Rows } from "./rows.js";
import { Resumed } from "./resumed.js";
import { bytes, capital, clock, counted, ended, moment, nameOf, number, spaced, standing, works, workOf } from "./words.js";

export function SessionView({ id }) {
  const load = (signal) => get(sessionPath(id, "/status"), { signal });
  const every = (status) => (works(status) || status.running ? 1000 : 10_000);
  const { value: status, outage, problem, again } = usePoll(load, every, id);
  const [filter, setFilter] = useState({});
  const [opened, setOpened] = useState(null);
  useSpeaking(status);
  const show = useCallback((wanted) => {
    setFilter(wanted);
    const heading = document.getElementById("rows-title");
    heading?.focus({ preventScroll: true });
    heading?.scrollIntoView({ block: "start" });
  }, []);
  useEffect(() => {
    document.title = status ? `${titleOf(status)} · Rowlift` : "Session · Rowlift";
  }, [status && titleOf(status)]);

  if (!status) // the same heading as later, so that the focus stays on it
    return html`
      <div class="masthead"><div><h1 tabindex="-1">${problem ? "Nothing to show" : "Session"}</h1></div></div>
      <${Outage} outage=${outage} again=${again} />
      <${Refusal} error=${problem}><p><a href="#/">All sessions</a></p></${Refusal}>
      ${!problem && !outage ? html`<p class="quiet">Loading …</p>` : null}`;

  const stands = standing(status);
  const pulse = `${status.status} ${status.open} ${status.running} ${status.failed} ${status.needs_review} ${status.completed_at}`;
  return html`
    <div class="masthead">
      <div>
        <h1 tabindex="-1">${nameOf(status)}</h1>
        <p class="quiet">${capital(status.pipeline)} · started ${moment(status.created_at)}
          ${status.completed_at ? ` · ended ${moment(status.completed_at)}` : ""}</p>
      </div>
      <${StatusBadge} status=${status.status} />
    </div>
    <${Outage} outage=${outage} again=${again} />
    <div class="stands ${status.status}">
      <p>${stands.what}${stands.next ? html` <strong>${stands.next}</strong>` : null}</p>
      <${Actions} status=${status} again=${again} show=${show} />
    </div>
    <div class="cards">
      <${Progress} status=${status} show=${show} />
      <${Speed} status=${status} pulse=${pulse} />
      <${Money} status=${status} />
      <${Downloads} status=${status} />
      ${status.quote ? html`<${Quote} status=${status} again=${again} />` : null}
      ${status.resumed ? html`<${Resumed} status=${status} />` : null}
      <${ErrorGroups} status=${status} show=${show} />
      ${status.pipeline === "movies" ? html`<${Films} status=${status} pulse=${pulse} open=${setOpened} />` : null}
      <${Rows} status=${status} pulse=${pulse} filter=${filter} setFilter=${setFilter} open=${setOpened} />
      <${Details} status=${status} pulse=${`${status.status} ${status.completed_at}`} />
    </div>
    ${opened !== null
      ? html`<${RowDialog} key=${opened} status=${status} item=${opened} open=${setOpened} close=${() => setOpened(null)} again=${again} />`
      : null}`;
}

function titleOf(status) {
  const work = workOf(status);
  return works(status) && work.total ? `${Math.floor(work.percent)} % · ${nameOf(status)}` : `${capital(status.status)} · ${nameOf(status)}`;
}

// Each change of status is spoken, and each quarter of the work.
function useSpeaking(status) {
  const said = useRef(null);
  useEffect(() => {
    if (!status) return;
    const quarter = Math.floor(workOf(status).percent / 25) * 25;
    const before = said.current;
    said.current = { status: status.status, quarter };
    if (!before) return;
    if (before.status !== status.status) speak(`Session ${status.status}. ${standing(status).what}`);
    else if (quarter > before.quarter && quarter < 100) speak(`${quarter} percent done.`);
  }, [status]);
}

function Downloads({ status }) {
  const path = (rest) => sessionPath(status.session_id, rest);
  const settled = status.total - status.open;
  const whole = ended(status) && status.completed_at;
  const name = `${nameOf(status).replace(/\.[a-z]+$/i, "").replaceAll(/[^\p{L}\p{N}._-]+/gu, "-")}`;
  const offers = [
    ["Results, JSON lines", "/results?format=jsonl", `${name}.results.jsonl`, settled > 0],
    ["Results, CSV", "/results?format=csv", `${name}.results.csv`, settled > 0],
    ["Rejected rows, CSV", "/rejects", `${name}.rejects.csv`, status.rejected > 0],
    ["Manifest", "/manifest", `${name}.manifest.json`, Boolean(whole)],
  ];
  return html`<${Card} title="Downloads" id="downloads">
    <ul class="downloads">${offers.map(([label, rest, file, there]) =>
      html`<li>${there
        ? html`<a class="button" href=${path(rest)} download=${file}>${label}</a>`
        : html`<span class="button off">${label}<span class="quiet"> ${rest === "/rejects" ? "none" : "not yet"}</span></span>`}</li>`)}</ul>
    <p class="quiet">${!settled ? "Results can be had as soon as a row is settled." : whole ? "" : "What is settled by now; more comes as it goes on."}
      ${" "}Kept until ${moment(status.expires_at)}.</p>
  </${Card}>`;
}

function Details({ status, pulse }) {
  const [shown, setShown] = useState(false);
  return html`<details class="card full folded" onToggle=${(event) => setShown(event.currentTarget.open)}>
    <summary><h2>Files, options and history</h2></summary>
    ${shown ? html`<${Deep} status=${status} pulse=${pulse} />` : null}
  </details>`;
}

function Deep({ status, pulse }) {
  const id = status.session_id;
  const { value: session, error } = useFresh((signal) => get(sessionPath(id), { signal }), id, pulse);
  const { value: audit } = useFresh((signal) => get(sessionPath(id, "/audit"), { signal }), id, pulse);
  if (!session) return html`<${Refusal} error=${error} />`;
  return html`
    <dl class="facts">
      <${Fact} name="Session"><code>${id}</code></${Fact}>
      <${Fact} name="Trace"><code>${status.trace_id}</code></${Fact}>
      <${Fact} name="Source"><code>${status.source}</code></${Fact}>
      ${Object.entries(session.options).filter(([, value]) => value !== null && value !== false)
        .map(([name, value]) => html`<${Fact} name=${capital(spaced(name))}>${name === "budget" ? `$${value / 1e6}` : String(value)}</${Fact}>`)}
    </dl>
    <h3>Files</h3>
    <div class="scroll" tabindex="0" role="region" aria-label="Files"><table class="listing">
      <thead><tr><th scope="col">File</th><th scope="col">State</th><th scope="col" class="figure">Records</th><th scope="col" class="figure">Size</th></tr></thead>
      <tbody>${session.files.map((file) => html`<tr key=${file.object + file.generation}>
        <th scope="row">${file.object.replace(/^gs:\/\/[^/]*\//, "")}</th>
        <td>${file.state}${file.error ? html`<span class="fault">${file.error}</span>` : null}</td>
        <td class="figure">${number(file.records_read)}${file.ignored ? html` <span class="quiet">(${counted(file.ignored, "ignored", "ignored")})</span>` : null}</td>
        <td class="figure">${file.bytes === null ? "" : bytes(file.bytes)}</td></tr>`)}</tbody>
    </table></div>
    <h3>Who did what</h3>
    ${audit?.entries.length
      ? html`<ul class="audit">${audit.entries.map((entry) => html`<li>
          <span class="quiet">${moment(entry.at)}, ${clock(entry.at)}</span> <strong>${capital(spaced(entry.action))}</strong> by ${entry.actor}
          ${said(entry.details) ? html` <span class="quiet">${said(entry.details)}</span>` : null}</li>`)}</ul>`
      : html`<p class="quiet">Nobody has done anything to this session.</p>`}`;
}

const said = (details) =>
  Object.entries(details ?? {}).filter(([, value]) => value !== null && value !== undefined)
    .map(([name, value]) => `${spaced(name)}: ${typeof value === "object" ? JSON.stringify(value) : value}`).join(", ");
