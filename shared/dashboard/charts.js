// Small pictures in SVG, each with its figures in words.
import { html } from "./preact.js";
import { number, rate } from "./words.js";

const WIDE = 600;
const HIGH = 120;

// How fast rows were settled; points are { at, value } a fixed time apart.
export function Pace({ points, seconds, describe }) {
  const most = Math.max(...points.map((point) => point.value), 0.1);
  const x = (at) => (points.length > 1 ? (at / (points.length - 1)) * WIDE : WIDE / 2);
  const y = (value) => HIGH - 4 - (value / most) * (HIGH - 12);
  const line = points.map((point, at) => `${x(at).toFixed(1)},${y(point.value).toFixed(1)}`).join(" ");
  return html`<figure class="pace">
    <svg viewBox="0 0 ${WIDE} ${HIGH}" preserveAspectRatio="none" role="img" aria-label=${describe}>
      <line class="grid" x1="0" x2=${WIDE} y1=${y(most)} y2=${y(most)} />
      <line class="grid" x1="0" x2=${WIDE} y1=${y(most / 2)} y2=${y(most / 2)} />
      <line class="axis" x1="0" x2=${WIDE} y1=${y(0)} y2=${y(0)} />
      <polygon class="area" points=${`${x(0)},${y(0)} ${line} ${x(points.length - 1)},${y(0)}`} />
      <polyline class="curve" points=${line} vector-effect="non-scaling-stroke" />
    </svg>
    <span class="most" aria-hidden="true">${rate(most)}/s</span>
  </figure>`;
}

// Upright bars in their order, with a label below every so many.
export function Columns({ title, data, unit }) {
  if (!data.length) return null;
  const most = Math.max(...data.map((one) => one.value));
  const step = WIDE / data.length;
  const every = Math.ceil(data.length / 8);
  const top = data.reduce((best, one) => (one.value > best.value ? one : best));
  const words = `${title}: ${
    data.length <= 14
      ? data.map((one) => `${one.label}: ${number(one.value)}`).join(", ")
      : `from ${data[0].label} to ${data.at(-1).label}, most in ${top.label} with ${number(top.value)} ${unit}`
  }.`;
  return html`<figure class="columns">
    <figcaption>${title}</figcaption>
    <svg viewBox="0 0 ${WIDE} 150" role="img" aria-label=${words}>
      ${data.map((one, at) => {
        const high = Math.max(one.value ? 3 : 0, (one.value / most) * 116);
        return html`<g>
          <title>${one.label}: ${number(one.value)}</title>
          <rect class="bar" x=${(at * step + step * 0.12).toFixed(1)} y=${(122 - high).toFixed(1)} rx="3"
            width=${(step * 0.76).toFixed(1)} height=${high.toFixed(1)} />
          ${at % every === 0 ? html`<text x=${(at * step + step / 2).toFixed(1)} y="143" text-anchor="middle">${one.label}</text>` : null}
        </g>`;
      })}
    </svg>
  </figure>`;
}

// Lying bars, the figures beside them: the list is its own text.
export function Bars({ title, data }) {
  if (!data.length) return null;
  const most = Math.max(...data.map((one) => one.value));
  return html`<figure class="bars">
    <figcaption>${title}</figcaption>
    <ul>
      ${data.map((one) => html`<li>
        <span>${one.label}</span>
        <svg aria-hidden="true" viewBox="0 0 100 10" preserveAspectRatio="none">
          <rect class="bar" width=${Math.max(1, (100 * one.value) / most).toFixed(1)} height="10" rx="1.5" /></svg>
        <span class="figure">${number(one.value)}</span>
      </li>`)}
    </ul>
  </figure>`;
}
