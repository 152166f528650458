// How far a session is: a bar by outcome with its figures, and how fast it goes.
import { html } from "./preact.js";
import { get, sessionPath } from "./api.js";
import { Pace } from "./charts.js";
import { Card, fill, outcomeTitle, Swatch } from "./parts.js";
import { useFresh } from "./polling.js";
import {
  boundBy, clock, counted, duration, ended, MEANING, number, OUTCOMES, outcomeWord, percent, rate, works, workOf,
} from "./words.js";

export function Progress({ status, show }) {
  const work = workOf(status);
  // What went into another row's film is part of that.
  const apart = work.unit === "film" ? ["merged", "duplicate"] : [];
  const shown = OUTCOMES.filter((name) => status[name] && !apart.includes(name));
  const all = shown.reduce((sum, name) => sum + status[name], 0) + status.open;
  const joined = apart.reduce((sum, name) => sum + status[name], 0);
  const words = [...shown.map((name) => `${number(status[name])} ${outcomeWord(name)}`), status.open && `${number(status.open)} open`];
  return html`<${Card} title="Progress" id="progress" extra=${html`<span class="quiet">${work.total
      ? `${number(work.done)} of ${counted(work.total, work.unit)}`
      : works(status) ? "counting …" : "no rows"}</span>`} wide>
    <div class="headline"><span class="big">${work.total ? percent(work.percent) : "–"}</span>
      <span class="quiet">${remaining(status)}</span></div>
    <${Bar} parts=${shown.map((name) => [name, status[name]])} all=${all} words=${words.filter(Boolean).join(", ") || "nothing yet"} />
    <ul class="legend" aria-label="Rows by outcome">
      ${shown.map((name) => html`<li key=${name}><button class="bare" title=${MEANING[name]} onClick=${() => show({ outcome: name })}>
        <${Swatch} outcome=${name} /><span>${outcomeTitle(name)}</span> <strong>${number(status[name])}</strong></button></li>`)}
      ${status.open ? html`<li key="open"><span class="bare">
        <${Swatch} outcome=${null} /><span>Open</span> <strong>${number(status.open)}</strong>
        ${status.running ? html`<span class="quiet">${number(status.running)} running</span>` : null}</span></li>` : null}
    </ul>
    ${joined ? html`<p class="quiet">${counted(joined, "further record belongs", "further records belong")} to these films.</p>` : null}
  </${Card}>`;
}

function Bar({ parts, all, words }) {
  let before = 0;
  return html`<svg class="bar-of-outcomes" viewBox="0 0 1000 16" preserveAspectRatio="none" role="img" aria-label=${`Rows by outcome: ${words}`}>
    <rect class="track" width="1000" height="16" />
    ${parts.map(([name, count]) => {
      const wide = all ? (1000 * count) / all : 0;
      const x = before;
      before += wide;
      return html`<rect key=${name} class=${fill(name)} x=${x.toFixed(2)} width=${Math.max(2, wide - 2).toFixed(2)} height="16">
        <title>${outcomeTitle(name)}: ${number(count)}</title></rect>`;
    })}
  </svg>`;
}

function remaining(status) {
  if (ended(status)) return status.status === "completed" ? "all settled" : "ended";
  if (!status.open) return "";
  if (["paused", "quoted"].includes(status.status)) return "waiting for you";
  return status.eta_seconds ? `about ${duration(status.eta_seconds)} left` : "time left is not known yet";
}

export function Speed({ status, pulse }) {
  const id = status.session_id;
  const { value } = useFresh((signal) => get(sessionPath(id, "/progress"), { signal }), id, pulse, works(status) ? 5000 : 0);
  const points = value ? filled(value, works(status)) : [];
  const sum = points.reduce((total, point) => total + point.settled, 0);
  const span = points.length * (value?.seconds_per_point ?? 0);
  const most = Math.max(0, ...points.map((point) => point.value));
  const average = span ? sum / span : 0;
  const now = works(status) && status.open ? status.items_per_second : null;
  const describe = points.length
    ? `Rows a second from ${clock(points[0].at)} to ${clock(points.at(-1).at)}: ${rate(average)} on average, ${rate(most)} at most.`
    : "";
  const shown = now ?? (sum ? average : null);
  const when = now !== null ? "now" : sum ? "on average" : "";
  return html`<${Card} title="Speed" id="speed" extra=${html`<span class="quiet">${when}</span>`}>
    <div class="headline"><span class="big">${shown === null ? "–" : rate(shown)}</span><span class="quiet">rows a second</span></div>
    ${points.length > 1 ? html`<${Pace} points=${points} describe=${describe} />
      <p class="ends quiet" aria-hidden="true"><span>${clock(points[0].at)}</span><span>${clock(points.at(-1).at)}</span></p>` : null}
    <p class="quiet">${status.open ? boundBy(status.bound_by) : points.length === 1 ? "It was over within a few seconds." : ""}</p>
  </${Card}>`;
}

// Spans in which nothing was settled are not told; here they are noughts.
function filled({ points, seconds_per_point: seconds }, goesOn) {
  if (!points.length) return [];
  const start = Date.parse(points[0].at);
  const place = (point) => Math.round((Date.parse(point.at) - start) / 1000 / seconds);
  const found = Array.from({ length: place(points.at(-1)) + 1 }, (_, at) =>
    ({ at: new Date(start + at * seconds * 1000).toISOString(), settled: 0, value: 0 }));
  for (const point of points) Object.assign(found[place(point)], { settled: point.settled, value: point.settled / seconds });
  return goesOn && found.length > 2 ? found.slice(0, -1) : found; // the newest span is not over yet
}
