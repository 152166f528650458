// The rows of a session: by outcome, searched, page by page.
import { html, useEffect, useRef, useState } from "./preact.js";
import { get, query, sessionPath } from "./api.js";
import { Card, OutcomeBadge, outcomeTitle, Pages, Refusal, speak, Swatch } from "./parts.js";
import { counted, number, OUTCOMES, rowName, rowSays, works } from "./words.js";

const SHOWN = 25;
const REST = 2500; // milliseconds a page of rows is left as it is while the session works
const TYPED = 350; // milliseconds without a key before a search begins

export function Rows({ status, pulse, filter, setFilter, open }) {
  const id = status.session_id;
  const [text, setText] = useState("");
  const [wanted, setWanted] = useState("");
  const [behind, setBehind] = useState([]); // where the pages that were left behind begin
  const [after, setAfter] = useState(0);
  const [seen, setSeen] = useState(null); // { items, next }
  const [looked, setLooked] = useState(null); // how far a search that goes on has come
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(true);
  const running = useRef();
  const asked = useRef();
  const shownAt = useRef(0);
  const begin = () => {
    setBehind([]);
    setAfter(0);
  };
  const choose = (next) => {
    begin();
    setFilter(next);
  };

  useEffect(() => {
    const timer = setTimeout(() => {
      if (text.trim() === wanted) return;
      begin();
      setWanted(text.trim());
    }, TYPED);
    return () => clearTimeout(timer);
  }, [text]);
  useEffect(begin, [filter]);

  const look = async (quietly) => {
    running.current?.abort();
    const mine = (running.current = new AbortController());
    const fixed = { outcome: filter.outcome, state: filter.state, error_code: filter.error_code, q: wanted, limit: SHOWN };
    if (!quietly) {
      setError(null);
      setBusy(true);
    }
    try {
      for (let from = after; ; ) {
        const page = await get(sessionPath(id, `/items${query({ ...fixed, after: from || null })}`), { signal: mine.signal });
        if (mine.signal.aborted) return;
        if (page.items.length || page.next === null) {
          setSeen(page);
          setBusy(false);
          setLooked(null);
          shownAt.current = Date.now();
          if (wanted && !quietly) speak(page.items.length ? `${counted(page.items.length, "row")} found.` : "Nothing found.");
          return;
        }
        from = page.next; // where no index finds them, a bounded number of rows is looked at at a time
        setSeen({ items: [], next: page.next });
        setLooked(page.next);
      }
    } catch (refusal) {
      if (mine.signal.aborted) return;
      setLooked(null);
      setBusy(false);
      if (!quietly) setError(refusal);
    }
  };
  const place = `${id} ${filter.outcome} ${filter.state} ${filter.error_code} ${wanted} ${after}`;
  useEffect(() => {
    asked.current = place;
    look(false);
    return () => running.current?.abort();
  }, [place]);
  useEffect(() => {
    // The rows on the page change while the session works; a search is left alone.
    if (!seen || wanted || looked !== null) return undefined;
    const timer = setTimeout(() => look(true), Math.max(0, shownAt.current + (works(status) ? REST : 0) - Date.now()));
    return () => clearTimeout(timer);
  }, [pulse]);

  const stop = () => {
    running.current?.abort();
    setBusy(false);
    setLooked(null);
  };
  const items = seen?.items ?? [];
  return html`<${Card} title="Rows" id="rows" wide extra=${html`<span class="quiet">${counted(status.total, "row")}</span>`}>
    <div class="filters">
      <div class="chips" role="group" aria-label="Show rows by outcome">
        ${kinds(status).map(([label, count, value]) => {
          const on = value.outcome === filter.outcome && value.state === filter.state;
          return html`<button key=${label} class="chip" aria-pressed=${on ? "true" : "false"} onClick=${() => choose(value)}>
            ${value.outcome ? html`<${Swatch} outcome=${value.outcome} />` : null}${label}
            ${count === null ? null : html` <span class="count">${number(count)}</span>`}</button>`;
        })}
      </div>
      <form role="search" onSubmit=${(event) => { event.preventDefault(); begin(); setWanted(text.trim()); }}>
        <label class="unseen" for="search">Search rows</label>
        <input id="search" type="search" placeholder="Search rows" value=${text} maxlength="100" onInput=${(event) => setText(event.target.value)} />
      </form>
    </div>
    ${filter.error_code ? html`<p class="narrowed">Only rows with error <code>${filter.error_code}</code>
      <button class="small" onClick=${() => choose({ outcome: filter.outcome })}>Show all</button></p>` : null}
    <${Refusal} error=${error} />
    ${looked !== null ? html`<p class="narrowed" role="status">Nothing found up to row ${number(looked)} of ${number(status.total)}; searching on …
      <button class="small" onClick=${stop}>Stop</button></p>` : null}
    ${items.length ? html`<${Table} items=${items} open=${open} busy=${busy} />`
      : seen && looked === null ? html`<p class="quiet">${empty(status, wanted, seen.next)}</p>` : null}
    ${behind.length || seen?.next
      ? html`<${Pages} label="Pages of rows" nextWord=${wanted ? "Search on" : "Next"}
          previous=${behind.length ? () => { setAfter(behind.at(-1)); setBehind(behind.slice(0, -1)); } : null}
          next=${seen?.next ? () => { setBehind([...behind, after]); setAfter(seen.next); } : null}>
          ${items.length ? `Rows ${number(items[0].item_no)} to ${number(items.at(-1).item_no)}` : ""}</${Pages}>`
      : null}
  </${Card}>`;
}

function kinds(status) {
  const waits = status.open > status.running;
  return [
    ["All", status.total, {}],
    ...(status.running ? [["Running", status.running, { state: "running" }]] : []),
    ...(waits ? [["Waiting", null, { state: "available" }], ["To be tried again", null, { state: "retryable" }]] : []),
    ...OUTCOMES.filter((name) => status[name]).map((name) => [outcomeTitle(name), status[name], { outcome: name }]),
  ];
}

function empty(status, wanted, next) {
  if (wanted) return next ? "The search was stopped. Search on to continue." : `No row here holds “${wanted}”.`;
  return works(status) ? "No such rows at the moment." : "No such rows.";
}

const Table = ({ items, open, busy }) => html`<table class="listing rows" aria-busy=${busy ? "true" : "false"}>
  <thead><tr><th scope="col" class="figure lineno">Line</th><th scope="col">Row</th><th scope="col">Outcome</th><th scope="col" class="says">Answer</th></tr></thead>
  <tbody>${items.map((row) => html`<tr key=${row.item_no} onClick=${(event) => event.target.closest("button") || open(row.item_no)}>
    <td class="figure quiet lineno">${row.line ? number(row.line) : ""}</td>
    <th scope="row"><button class="link" onClick=${() => open(row.item_no)}>${rowName(row)}</button></th>
    <td><${OutcomeBadge} row=${row} /></td>
    <td class="says"><p class=${["failed", "rejected"].includes(row.outcome) ? "wrong" : ""}>${rowSays(row)}</p></td></tr>`)}</tbody>
</table>`;
