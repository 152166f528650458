// Which film of TMDB's a film is: the candidates to pick from, or none of them.
import { html, useState } from "./preact.js";
import { post, sessionPath } from "./api.js";
import { Refusal, speak } from "./parts.js";
import { rowName } from "./words.js";

export function Match({ id, row, done }) {
  const [picked, setPicked] = useState(undefined);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const go = async (event) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      await post(sessionPath(id, `/items/${row.item_no}/match`), { tmdb_id: picked });
      speak(picked === null ? "It is none of them from now on." : "Chosen; the film has its turn again.");
      done();
    } catch (refusal) {
      setError(refusal);
      setBusy(false);
    }
  };
  const choice = (value, words) => html`<label key=${value} class="line ${picked === value ? "on" : ""}">
    <input type="radio" name="film" value=${value ?? "none"} checked=${picked === value} onChange=${() => setPicked(value)} /><span>${words}</span></label>`;
  return html`<form class="match" onSubmit=${go}>
    <fieldset class="lines" disabled=${busy}>
      <legend>Which film is ${rowName(row)}?</legend>
      ${row.result.candidates.map((film) => choice(film.tmdb_id, html`<strong>${film.title}${film.year ? ` (${film.year})` : ""}</strong>
        <span class="quiet">${fitsHow(film)}</span>`))}
      ${choice(null, html`<strong>None of them</strong><span class="quiet">It is not asked again.</span>`)}
    </fieldset>
    <p class="help">Your choice holds for this and every later session.</p>
    <${Refusal} error=${error} />
    <div class="actions"><button class="primary" disabled=${busy || picked === undefined}>Take this choice</button></div>
  </form>`;
}

const fitsHow = (film) =>
  [film.original_title !== film.title ? film.original_title : "", film.reason, `score ${film.score.toFixed(2)}`]
    .filter(Boolean).join(" · ");
