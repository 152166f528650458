// The newest sessions, a row each, live.
import { html, useState } from "./preact.js";
import { get, query } from "./api.js";
import { Card, Outage, Pages, Refusal, StatusBadge } from "./parts.js";
import { usePoll } from "./polling.js";
import { counted, ended, moment, money, nameOf, percent, works, workOf } from "./words.js";

const SHOWN = 15;

export function Sessions() {
  const [before, setBefore] = useState([]); // the pages that were left behind
  const at = before.at(-1) ?? null;
  const load = (signal) => get(`/api/sessions${query({ limit: SHOWN, before: at })}`, { signal });
  const every = (page) => (page.sessions.some(moves) ? 1000 : 10_000);
  const { value, outage, problem, again } = usePoll(load, every, at ?? "");
  const sessions = value?.sessions ?? [];
  return html`<${Card} title="Sessions" id="sessions" wide>
    <${Outage} outage=${outage} again=${again} />
    <${Refusal} error=${problem} />
    ${!value
      ? !outage && !problem && html`<p class="quiet">Loading …</p>`
      : sessions.length
        ? html`<${Table} sessions=${sessions} />`
        : html`<p class="quiet">Nothing yet. Drop a file above, such as <code>examples/artists-25.csv</code>.</p>`}
    ${before.length || value?.next
      ? html`<${Pages} label="Pages of sessions" previous=${before.length ? () => setBefore(before.slice(0, -1)) : null}
          previousWord="Newer" nextWord="Older" next=${value?.next ? () => setBefore([...before, value.next]) : null}>
          Page ${before.length + 1}</${Pages}>`
      : null}
  </${Card}>`;
}

// What was announced and has not come for an hour hardly comes in the next second.
const moves = (one) => works(one) && (one.status !== "uploading" || Date.now() - Date.parse(one.created_at) < 3_600_000);

const Table = ({ sessions }) => html`<table class="listing sessions">
  <thead><tr><th scope="col">Session</th><th scope="col">Status</th><th scope="col">Progress</th>
    <th scope="col" class="figure">Spent</th><th scope="col" class="when">Started</th></tr></thead>
  <tbody>${sessions.map((one) => html`<${Row} key=${one.session_id} session=${one} />`)}</tbody>
</table>`;

function Row({ session }) {
  const work = workOf(session);
  return html`<tr>
    <th scope="row"><a href=${`#/session/${session.session_id}`}>${nameOf(session)}</a>
      <span class="quiet">${session.pipeline}</span></th>
    <td><${StatusBadge} status=${session.status} /></td>
    <td class="share">${work.total
      ? html`<svg class="thin ${session.status}" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">
          <rect class="track" width="100" height="6" rx="3" /><rect class="part" width=${work.percent} height="6" rx="3" /></svg>
          <span class="quiet">${work.done < work.total ? `${percent(work.percent)} of ` : ""}${counted(work.total, work.unit)}</span>`
      : html`<span class="quiet">${ended(session) ? "no rows" : "…"}</span>`}</td>
    <td class="figure">${session.spent_usd ? money(session.spent_usd) : html`<span class="quiet">–</span>`}</td>
    <td class="quiet when">${moment(session.created_at)}</td>
  </tr>`;
}
