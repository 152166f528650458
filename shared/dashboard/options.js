// The options of a session as fields, from what the API says of each.
import { html } from "./preact.js";
import { capital, spaced } from "./words.js";

const OFTEN = ["budget", "approve", "write-mode", "dry-run"];
const ELSEWHERE = ["resume"]; // the name of an object that only the rowlift command puts in place

const WORDS = {
  approve: { auto: "start at once", ask: "ask me first" },
  "write-mode": { db: "database only", file: "results file only", both: "database and results file" },
};

export const optionsFor = (offer, pipeline) =>
  offer.options.filter((option) => !ELSEWHERE.includes(option.name) && (!option.pipelines || option.pipelines.includes(pipeline)));

// What differs from the defaults, as the API takes it.
export const chosen = (options, values) =>
  Object.fromEntries(
    options
      .map(({ name }) => [name, values[name]])
      .filter(([, value]) => value !== undefined && value !== "" && value !== false)
      .map(([name, value]) => [name, String(value)]),
  );

export function Options({ options, values, set, faults, open }) {
  const often = OFTEN.flatMap((name) => options.filter((option) => option.name === name));
  const rare = options.filter((option) => !OFTEN.includes(option.name));
  const fields = (list) =>
    html`<div class="fields">${list.map(
      (option) => html`<${Field} key=${option.name} option=${option} value=${values[option.name]} fault=${faults[option.name]}
        set=${(value) => set(option.name, value)} />`,
    )}</div>`;
  const wrong = rare.some((option) => faults[option.name]);
  return html`${fields(often)}
    ${rare.length ? html`<details class="more" open=${wrong || open}><summary>More options</summary>${fields(rare)}</details>` : null}`;
}

function Field({ option, value, set, fault }) {
  const { name, type } = option;
  const id = `option-${name}`;
  const label = capital(spaced(name));
  const about = {
    id,
    name,
    "aria-describedby": `${fault ? `${id}-fault ` : ""}${id}-help`,
    "aria-invalid": fault ? "true" : undefined,
  };
  const words = html`
    ${fault ? html`<p class="fault" id=${`${id}-fault`}>${fault}</p>` : null}
    <p class="help" id=${`${id}-help`}>${option.help}</p>`;
  if (type === "flag")
    return html`<div class="field flag">
      <label><input type="checkbox" ...${about} checked=${Boolean(value ?? option.default)}
        onChange=${(event) => set(event.target.checked)} /> ${label}</label>${words}</div>`;
  return html`<div class="field">
    <label for=${id}>${label}${type === "money" ? " in dollars" : ""}</label>
    ${type === "choice"
      ? html`<select ...${about} value=${value ?? option.default ?? ""} onChange=${(event) => set(event.target.value)}>
          ${option.choices.map((choice) => html`<option value=${choice} selected=${choice === (value ?? option.default)}>
            ${capital(WORDS[name]?.[choice] ?? spaced(choice))}</option>`)}
        </select>`
      : html`<input type="text" ...${about} value=${value ?? ""} autocomplete="off" spellcheck="false"
          inputmode=${type === "money" ? "decimal" : undefined}
          placeholder=${option.default ?? (type === "money" ? "no limit" : "")}
          onInput=${(event) => set(event.target.value.trim())} />`}
    ${words}</div>`;
}
