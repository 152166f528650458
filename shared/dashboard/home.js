// Where one begins: drop files, see the sessions. The list says when the API does not answer.
import { html } from "./preact.js";
import { get } from "./api.js";
import { Refusal } from "./parts.js";
import { usePoll } from "./polling.js";
import { Sessions } from "./sessions.js";
import { Upload } from "./upload.js";

const NEVER = 3_600_000;

export function Home() {
  const { value: offer, problem } = usePoll((signal) => get("/api/pipelines", { signal }), () => NEVER, "offer");
  return html`
    <h1 tabindex="-1" class="unseen">Upload files and see sessions</h1>
    <${Refusal} error=${problem} />
    <${Upload} offer=${offer} />
    <${Sessions} />`;
}
