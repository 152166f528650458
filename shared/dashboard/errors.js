// What went wrong, in groups, each with an example and the way to its rows.
import { html } from "./preact.js";
import { get, sessionPath } from "./api.js";
import { Card, OutcomeBadge, Refusal } from "./parts.js";
import { useFresh } from "./polling.js";
import { capital, counted, number, restOf, spaced } from "./words.js";

const UNUSUAL = ["failed", "rejected", "needs_review", "not_found"];

export function ErrorGroups({ status, show }) {
  const id = status.session_id;
  const pulse = UNUSUAL.map((name) => status[name]).join(" ");
  const any = UNUSUAL.some((name) => status[name]);
  const { value, error } = useFresh((signal) => (any ? get(sessionPath(id, "/errors"), { signal }) : null), id, pulse, restOf(status));
  if (!any || (!value && !error)) return null;
  const groups = value?.groups ?? [];
  const kinds = html`<span class="quiet">${counted(groups.length, "kind")}</span>`;
  return html`<${Card} title="What went wrong" id="errors" wide extra=${groups.length ? kinds : null}>
    <${Refusal} error=${value ? null : error} />
    <ul class="groups">${groups.map((group) => html`<li key=${`${group.outcome} ${group.error_code}`}>
      <div class="what"><${OutcomeBadge} row=${group} /> <strong>${number(group.items)} × ${capital(codeWords(group.error_code))}</strong>
        <code class="quiet">${group.error_code ?? ""}</code></div>
      ${group.example ? html`<p class="example">${example(group)}</p>` : null}
      <button class="small" onClick=${() => show({ outcome: group.outcome, error_code: group.error_code })}>
        Show ${group.items === 1 ? "it" : "them"}<span class="unseen">: ${group.error_code ?? group.outcome}</span></button>
    </li>`)}</ul>
    ${value && !value.complete ? html`<p class="quiet">There are more than were looked at; the counts are at least these.</p>` : null}
  </${Card}>`;
}

const codeWords = (code) => (code ? spaced(code.split(".").at(-1)) : "no code");

function example({ example: { line, key, error_message: message } }) {
  const where = [line ? `line ${number(line)}` : "", key].filter(Boolean).join(", ");
  return message ? `${message}${where && !message.includes(`line ${line}`) ? ` (${where})` : ""}` : `For example ${where}.`;
}
