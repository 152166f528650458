// What a session has cost, and what it would cost.
import { html } from "./preact.js";
import { Card, Fact } from "./parts.js";
import { counted, duration, ended, money, number, QUOTE_BINDS } from "./words.js";

export function Money({ status }) {
  const { spent_usd: spent, reserved_usd: reserved, budget_usd: budget } = status;
  const free = !spent && !reserved && budget === null;
  const share = (usd) => (budget ? Math.min(1000, (1000 * usd) / budget) : 0);
  const words = `${money(spent)} spent${reserved ? `, ${money(reserved)} reserved` : ""} of a budget of ${money(budget)}`;
  const cap = html`<span class="quiet">${budget === null ? "no budget" : `budget ${money(budget)}`}</span>`;
  return html`<${Card} title="Money" id="money" extra=${cap}>
    <div class="headline"><span class="big">${money(spent)}</span><span class="quiet">spent</span></div>
    ${budget !== null ? html`<svg class="bar-of-outcomes" viewBox="0 0 1000 16" preserveAspectRatio="none" role="img" aria-label=${words}>
        <rect class="track" width="1000" height="16" /><rect class="fill-spent" width=${share(spent)} height="16" />
        <rect class="fill-reserved" x=${share(spent)} width=${Math.min(1000 - share(spent), share(reserved))} height="16" /></svg>` : null}
    <p class="quiet">${reserved ? `${money(reserved)} reserved for calls under way or without an answer. ` : ""}
      ${status.calls?.unknown ? `${counted(status.calls.unknown, "call")} got no answer and may have been charged. ` : ""}
      ${free ? "Nothing has been paid." : ended(status) ? "" : budget === null ? "No budget caps it; pausing stops the spending." : "It never goes above the budget: it pauses before."}</p>
  </${Card}>`;
}

export function Quote({ status }) {
  const { quote } = status;
  if (quote.error)
    return html`<${Card} title="Quote" id="quote" wide><p class="fault">${quote.error}</p></${Card}>`;
  const paid = quote.usd.high > 0;
  const takes = quote.duration_seconds === null ? "not known" : `about ${duration(quote.duration_seconds)}`;
  return html`<${Card} title="Quote" id="quote" wide tone=${status.status === "quoted" ? "wanted" : ""}
      extra=${html`<span class="quiet">${quote.model ? `${quote.model}, ${quote.prompt}` : ""}</span>`}>
    <div class="headline"><span class="big">${paid ? `about ${money(quote.usd.likely)}` : "free"}</span>
      <span class="quiet">${paid ? `from ${money(quote.usd.low)} to ${money(quote.usd.high)}` : "nothing of this is paid"}</span></div>
    <dl class="facts">
      <${Fact} name="Rows">${number(quote.rows)}${repeats(quote)}</${Fact}>
      <${Fact} name="To run">${number(quote.to_run)}</${Fact}>
      <${Fact} name="Reused">${quote.reusable ? `${number(quote.reusable)} answers that were paid for before` : null}</${Fact}>
      <${Fact} name="Free">${quote.free ? `${number(quote.free)} that the options settle without a request` : null}</${Fact}>
      <${Fact} name="Requests">${range(quote.requests)}</${Fact}>
      <${Fact} name="Tokens in">${paid ? range(quote.tokens_in) : null}</${Fact}>
      <${Fact} name="Tokens out">${paid ? range(quote.tokens_out) : null}</${Fact}>
      <${Fact} name="Time">${quote.bound_by ? `${takes}, bound by ${QUOTE_BINDS[quote.bound_by] ?? quote.bound_by}` : null}</${Fact}>
      <${Fact} name="Budget">${quote.budget_usd === null ? null : `${money(quote.budget_usd)}, ${fits(quote)}`}</${Fact}>
    </dl>
    <p class="quiet">${quote.basis} ${quote.prices_read_on ? `Prices of ${quote.prices_read_on}.` : ""}</p>
    ${quote.preview ? html`<${Preview} preview=${quote.preview} />` : null}
  </${Card}>`;
}

const Preview = ({ preview }) => html`<details class="more"><summary>The first requests as they would be sent</summary>
  ${preview.items.map((one) => html`<h3>Row ${number(one.item_no)}, ${one.key}</h3>
    <pre tabindex="0">${Object.entries(one.request).map(([name, value]) => `${name}: ${asText(value)}`).join("\n")}${one.effect ? `\n\n${one.effect}` : ""}</pre>`)}
</details>`;

const asText = (value) => (typeof value === "string" ? value : JSON.stringify(value));

const repeats = (quote) => {
  const parts = ["rejected", "duplicates"].filter((name) => quote[name]).map((name) => `${number(quote[name])} ${name}`);
  return parts.length ? `, ${parts.join(", ")}` : "";
};

const range = ({ low, likely, high }) =>
  low === high ? number(likely) : `about ${number(likely)} (from ${number(low)} to ${number(high)})`;

const fits = (quote) =>
  quote.budget_holds_high ? "enough whatever happens"
    : quote.budget_holds_likely ? "enough for the likely cost" : "below the likely cost: it will pause";
