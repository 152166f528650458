// What an earlier results file held, and where it disagrees with the database.
import { html, useState } from "./preact.js";
import { get, query, sessionPath } from "./api.js";
import { Card, Fact, Refusal } from "./parts.js";
import { useFresh } from "./polling.js";
import { capital, number, spaced } from "./words.js";

const SHOWN = 50;
const NAMED = ["confirmed", "unknown", "contradicted", "failed", "repeated", "unreadable", "torn", "not_in_upload"];

export function Resumed({ status }) {
  const { resumed } = status;
  const [shown, setShown] = useState(false);
  return html`<${Card} title="Resumed from earlier results" id="resumed" wide extra=${html`<span class="quiet">${number(resumed.held)} held</span>`}>
    <dl class="facts">
      <${Fact} name="Lines">${number(resumed.lines)}</${Fact}>
      ${NAMED.filter((name) => resumed[name]).map((name) => html`<${Fact} key=${name} name=${capital(spaced(name))}>${number(Number(resumed[name]))}</${Fact}>`)}
    </dl>
    <details class="more" onToggle=${(event) => setShown(event.currentTarget.open)}>
      <summary>Where it disagrees with the database</summary>
      ${shown ? html`<${Findings} id=${status.session_id} pulse=${JSON.stringify(resumed)} />` : null}
    </details>
  </${Card}>`;
}

function Findings({ id, pulse }) {
  const path = sessionPath(id, `/resumed${query({ limit: SHOWN })}`);
  const { value, error } = useFresh((signal) => get(path, { signal }), path, pulse);
  if (!value) return html`<${Refusal} error=${error} />`;
  if (!value.findings.length) return html`<p class="quiet">Nowhere.</p>`;
  return html`<ul class="audit">${value.findings.map((one) => html`<li>
      <strong>Line ${number(one.line)}: ${spaced(one.finding)}</strong> <code>${one.key}</code> <span class="quiet">${one.message}</span></li>`)}</ul>
    ${value.next === null ? null : html`<p class="quiet">These are the first ${number(SHOWN)}.</p>`}`;
}
