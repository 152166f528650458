// The page: which view the address names, where the focus goes, what the window is called.
import { html, render, useEffect, useState } from "./preact.js";
import { Home } from "./home.js";
import { SessionView } from "./session.js";
import { Tracks } from "./tracks.js";

const SESSION = /^#\/session\/([0-9a-fA-F-]{36})$/;
const TRACKS = "#/tracks";

function useAddress() {
  const [address, setAddress] = useState(location.hash);
  useEffect(() => {
    const changed = () => setAddress(location.hash);
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return address;
}

function App() {
  const address = useAddress();
  const session = SESSION.exec(address)?.[1];
  useEffect(() => {
    if (!session) document.title = `${address === TRACKS ? "Tracks" : "Sessions"} · Rowlift`;
    if (!App.shown) {
      App.shown = true; // the page was just loaded: the focus stays at its top
      return;
    }
    scrollTo(0, 0);
    document.querySelector("#main h1")?.focus({ preventScroll: true });
  }, [address]);
  if (address === TRACKS) return html`<${Tracks} />`;
  return session ? html`<${SessionView} key=${session} id=${session} />` : html`<${Home} />`;
}

// "Skip to the content" is an address of its own to a router of hashes.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  document.getElementById("main").focus();
});
const main = document.getElementById("main");
main.replaceChildren();
render(html`<${App} />`, main);
