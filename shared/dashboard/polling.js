// Looking again: in time while the page is seen, later and later while the API does not answer.
import { useCallback, useEffect, useRef, useState } from "./preact.js";

const LONGEST_WAIT = 30_000;

// `load(signal)` now, and again `every(value)` milliseconds after each answer; never while the page is hidden.
// `outage` is { error, until } while the API does not answer; `problem` an answer that trying again will not change.
export function usePoll(load, every, key) {
  const [seen, setSeen] = useState({ key });
  const again = useRef(() => {});
  useEffect(() => {
    let timer, running, failures = 0;
    const set = (changes) => setSeen((before) => ({ ...(before.key === key ? before : {}), key, ...changes }));
    const later = (wait) => {
      clearTimeout(timer);
      if (!document.hidden) timer = setTimeout(look, wait);
    };
    const look = async () => {
      clearTimeout(timer);
      running?.abort();
      const mine = (running = new AbortController());
      try {
        const value = await load(mine.signal);
        if (mine.signal.aborted) return;
        failures = 0;
        set({ value, outage: null, problem: null });
        later(every(value));
      } catch (error) {
        if (mine.signal.aborted) return;
        if (error.passing) {
          const wait = Math.min(LONGEST_WAIT, 1000 * 2 ** failures++) * (0.8 + 0.4 * Math.random());
          set({ outage: { error, until: Date.now() + wait } });
          later(wait);
        } else {
          set({ problem: error, outage: null });
        }
      }
    };
    const shown = () => (document.hidden ? clearTimeout(timer) : look());
    again.current = look;
    document.addEventListener("visibilitychange", shown);
    look();
    return () => {
      document.removeEventListener("visibilitychange", shown);
      clearTimeout(timer);
      running?.abort();
    };
  }, [key]);
  return { ...(seen.key === key ? seen : {}), again: useCallback(() => again.current(), []) };
}

// `load(signal)` at once when `key` changes, and again when `pulse` does, at most every `rest` milliseconds.
// An answer that fails leaves the last one in place, with the `error` beside it.
export function useFresh(load, key, pulse, rest = 0) {
  const [seen, setSeen] = useState({ key });
  const [asked, setAsked] = useState(0);
  const state = useRef({ at: 0, scope: null });
  useEffect(() => {
    const scope = new AbortController();
    state.current = { at: 0, scope };
    return () => scope.abort();
  }, [key]);
  useEffect(() => {
    const { at, scope } = state.current;
    const look = async () => {
      state.current.at = Date.now();
      try {
        const value = await load(scope.signal);
        if (!scope.signal.aborted) setSeen({ key, value });
      } catch (error) {
        if (!scope.signal.aborted) setSeen((before) => ({ ...(before.key === key ? before : { key }), error }));
      }
    };
    const timer = setTimeout(look, Math.max(0, at + rest - Date.now()));
    return () => clearTimeout(timer);
  }, [key, pulse, asked]);
  const again = useCallback(() => {
    state.current.at = 0;
    setAsked((count) => count + 1);
  }, []);
  return { ...(seen.key === key ? seen : {}), again };
}
