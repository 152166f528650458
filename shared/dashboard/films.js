// The films of an export: pictures of it, and a table to sort.
import { html, useState } from "./preact.js";
import { get, getCounted, query, sessionPath } from "./api.js";
import { Bars, Columns } from "./charts.js";
import { Card, Pages, Refusal, Swatch } from "./parts.js";
import { useFresh } from "./polling.js";
import { counted, number, restOf, yearly } from "./words.js";

const SHOWN = 20;
const GENRES = 8;
const ARROW = { asc: " ↑", desc: " ↓" };
const YEARS = 30; // more of them than this are told by decade
const SORTS = [["title", "Film"], ["rating", "Rating"], ["tmdb_rating", "TMDB"], ["runtime", "Minutes"], ["watched_date", "Watched"]];

export function Films({ status, pulse, open }) {
  const id = status.session_id;
  const [sort, setSort] = useState({ sort: "title", order: "asc" });
  const [genre, setGenre] = useState("");
  const [offset, setOffset] = useState(0);
  const path = sessionPath(id, `/movies${query({ ...sort, genre, offset: offset || null, limit: SHOWN })}`);
  const { value: page, error } = useFresh((signal) => getCounted(path, { signal }), path, pulse, restOf(status));
  const { value: summary } = useFresh((signal) => get(sessionPath(id, "/movies/summary"), { signal }), id, pulse, restOf(status));
  if (error?.status === 409) return null; // its films are in no table: write-mode=file or a dry run
  const order = (by) => {
    setOffset(0);
    const down = by === "title" ? "asc" : "desc";
    setSort({ sort: by, order: sort.sort === by ? (sort.order === "asc" ? "desc" : "asc") : down });
  };
  const total = page?.total ?? 0;
  if (page && !total && !genre) return null;
  return html`<${Card} title="Films" id="films" wide extra=${page ? html`<span class="quiet">${counted(total, "film")}</span>` : null}>
    ${summary ? html`<${Pictures} summary=${summary} />` : null}
    ${summary?.genres.length ? html`<div class="filters"><div class="field inline"><label for="genre">Genre</label>
      <select id="genre" value=${genre} onChange=${(event) => { setOffset(0); setGenre(event.target.value); }}>
        <option value="">All</option>
        ${summary.genres.map(({ genre: name, films }) => html`<option key=${name} value=${name}>${name} (${number(films)})</option>`)}
      </select></div></div>` : null}
    <${Refusal} error=${page ? null : error} />
    ${page ? html`<table class="listing films"><thead><tr>${SORTS.map(([by, label]) => html`
        <th scope="col" class=${`${by === "title" ? "" : "figure"} ${by}`} aria-sort=${sort.sort === by ? `${sort.order}ending` : undefined}>
          <button class="sort" onClick=${() => order(by)}>${label}<span aria-hidden="true">${sort.sort === by ? ARROW[sort.order] : ""}</span></button></th>`)}
        </tr></thead><tbody>${page.list.map((film) => html`<${Film} key=${film.item_no} film=${film} open=${open} />`)}</tbody></table>` : null}
    ${total > SHOWN ? html`<${Pages} label="Pages of films" previous=${offset ? () => setOffset(Math.max(0, offset - SHOWN)) : null}
        next=${offset + SHOWN < total ? () => setOffset(offset + SHOWN) : null}>
        ${number(offset + 1)} to ${number(Math.min(total, offset + SHOWN))} of ${number(total)}</${Pages}>` : null}
  </${Card}>`;
}

const Film = ({ film, open }) => html`<tr>
  <th scope="row"><button class="link" onClick=${() => open(film.item_no)}>${yearly(film)}</button>
    ${film.outcome === "enriched" || film.outcome === "unchanged" ? null : html` <${Swatch} outcome=${film.outcome} />`}
    <span class="quiet">${[(film.directors ?? []).join(", "), (film.genres ?? []).join(", ")].filter(Boolean).join(" · ") || said(film)}</span></th>
  <td class="figure rating">${film.rating === null ? "" : html`${film.rating}<span class="quiet"> of 5</span>`}</td>
  <td class="figure tmdb_rating">${film.tmdb_rating ? film.tmdb_rating.toFixed(1) : ""}</td>
  <td class="figure runtime">${film.runtime ?? ""}</td>
  <td class="figure watched_date">${film.watched_date ?? ""}</td></tr>`;

const SAID = { needs_review: "needs a look", not_found: "TMDB knows no such film", failed: "failed", skipped: "not asked" };
const said = (film) => SAID[film.outcome] ?? "not asked yet";

function Pictures({ summary }) {
  const years = summary.by_year;
  const decades = years.length && years.at(-1).year - years[0].year + 1 > YEARS;
  return html`<div class="pictures">
    <${Columns} title=${decades ? "Films by decade" : "Films by year"} unit="films" data=${decades ? byDecade(years) : byYear(years)} />
    <${Columns} title="Your ratings" unit="films" data=${summary.ratings.length ? ratings(summary.ratings) : []} />
    <${Bars} title="Genres" data=${summary.genres.slice(0, GENRES).map((one) => ({ label: one.genre, value: one.films }))} />
  </div>`;
}

const spread = (first, last, step, count) => {
  const data = [];
  for (let at = first; at <= last; at += step) data.push(count(at));
  return data;
};

const byYear = (years) => years.length
  ? spread(years[0].year, years.at(-1).year, 1, (year) =>
      ({ label: String(year), value: years.find((one) => one.year === year)?.films ?? 0 }))
  : [];

const byDecade = (years) => {
  const decade = (year) => Math.floor(year / 10) * 10;
  return spread(decade(years[0].year), years.at(-1).year, 10, (start) => ({
    label: `${start}s`,
    value: years.reduce((sum, one) => sum + (decade(one.year) === start ? one.films : 0), 0),
  }));
};

const ratings = (found) =>
  spread(1, 10, 1, (half) => ({ label: String(half / 2), value: found.find((one) => Number(one.rating) === half / 2)?.films ?? 0 }));
