// The library of tracks: found as one types, heard where they are found.
import { html, useEffect, useRef, useState } from "./preact.js";
import { get, query } from "./api.js";
import { Card, Outage, Pages, Refusal, speak } from "./parts.js";
import { usePoll } from "./polling.js";
import { counted, number } from "./words.js";

const SHOWN = 20;
const PAUSE = 150; // milliseconds without a key before one asks
const NEVER = 3_600_000;
const LETTER = /[\p{L}\p{N}]/u;

// What stands in the box, once nobody has typed for a moment.
function useSettled(value) {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), PAUSE);
    return () => clearTimeout(timer);
  }, [value]);
  return settled;
}

export function Tracks() {
  const [typed, setTyped] = useState("");
  const [offset, setOffset] = useState(0);
  const [heard, setHeard] = useState(null);
  const words = useSettled(typed).trim();
  const asked = LETTER.test(words) ? { q: words, prefix: true } : { status: "COMPLETED" };
  const path = `/api/audio${asked.q ? "/search" : ""}${query({ ...asked, limit: SHOWN, offset: offset || null })}`;
  const { value: page, outage, problem, again } = usePoll((signal) => get(path, { signal }), () => NEVER, path);
  const last = useRef(null); // what was found before stays until the next answer
  if (page) last.current = page;
  const shown = page ?? last.current;
  const total = shown ? `${shown.total_is_exact === false ? "about " : ""}${counted(shown.total, "track")}` : "";
  useEffect(() => {
    if (page) speak(asked.q ? `${total} found` : total);
  }, [page]);
  return html`<h1 tabindex="-1" class="unseen">Tracks</h1>
  <${Card} title="Tracks" id="tracks" wide extra=${shown ? html`<span class="quiet">${total}</span>` : null}>
    <form role="search" class="field" onSubmit=${(event) => event.preventDefault()}>
      <label for="track-words">Find by title, artist, album or genre</label>
      <input type="search" id="track-words" autocomplete="off" spellcheck=${false} maxlength="100" value=${typed}
        onInput=${(event) => { setOffset(0); setTyped(event.target.value); }} />
    </form>
    <${Outage} outage=${outage} again=${again} />
    <${Refusal} error=${problem} />
    ${shown ? html`<${Found} page=${shown} busy=${!page} heard=${heard} hear=${setHeard} asked=${asked.q} />` : null}
    ${shown && (offset || shown.has_more) ? html`<${Pages} label="Pages of tracks"
        previous=${offset ? () => setOffset(Math.max(0, offset - SHOWN)) : null}
        next=${shown.has_more ? () => setOffset(offset + SHOWN) : null}>
        From ${number(offset + 1)}</${Pages}>` : null}
    ${heard ? html`<${Player} key=${heard.id} track=${heard} />` : null}
  </${Card}>`;
}

function Found({ page, busy, heard, hear, asked }) {
  if (!page.tracks.length) {
    return html`<p class="quiet">${asked ? "No track has all of these words."
      : html`Nothing yet. Upload sound files with pipeline <code>audio</code>.`}</p>`;
  }
  return html`<table class="listing tracks" aria-busy=${busy}>
    <thead><tr><th scope="col">Track</th><th scope="col">Album</th><th scope="col" class="figure">Year</th>
      <th scope="col" class="figure">Length</th><th scope="col"><span class="unseen">Hear it</span></th></tr></thead>
    <tbody>${page.tracks.map((one) => html`<tr key=${one.id} class=${heard?.id === one.id ? "on" : ""}>
      <th scope="row"><span class="track">${one.cover
        ? html`<img class="cover" src=${one.cover} alt="" width="44" height="44" loading="lazy" decoding="async" />`
        : html`<span class="cover" aria-hidden="true"></span>`}
        <span>${nameOf(one)}<span class="quiet">${[one.artist, one.genre].filter(Boolean).join(" · ")}</span></span></span></th>
      <td>${one.album ?? ""}</td><td class="figure">${one.year ?? ""}</td><td class="figure">${length(one.duration)}</td>
      <td class="figure">${one.sound && one.status === "COMPLETED"
        ? html`<button class="small" aria-label=${`Play ${nameOf(one)}`} aria-pressed=${heard?.id === one.id}
            onClick=${() => hear(one)}>Play</button>`
        : one.sound || one.status !== "COMPLETED"
          ? html`<span class="quiet">${one.status.toLowerCase()}</span>`
          : html`<a href=${one.audio_path} rel="noopener noreferrer" target="_blank" aria-label=${`Open ${nameOf(one)} where it lies`}>Open</a>`}</td></tr>`)}</tbody></table>`;
}

function Player({ track }) {
  const [fails, setFails] = useState(false);
  return html`<div class="player" role="region" aria-label="Player">
    <p><strong>${nameOf(track)}</strong>${track.artist ? html` <span class="quiet">${track.artist}</span>` : null}</p>
    <audio controls autoplay src=${track.sound} aria-label=${`Sound of ${nameOf(track)}`} onError=${() => setFails(true)}></audio>
    ${fails ? html`<p role="alert">This browser cannot play it.
      <a href=${track.sound} download>Download it</a> instead.</p>` : null}
  </div>`;
}

const nameOf = (track) => track.title ?? decodeURIComponent(track.audio_path.split("/").at(-1).replaceAll("%", "%25"));

function length(seconds) {
  if (seconds === null) return "";
  const whole = Math.round(seconds);
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return (parts[0] ? parts : parts.slice(1)).map((part, at) => (at ? String(part).padStart(2, "0") : part)).join(":");
}
