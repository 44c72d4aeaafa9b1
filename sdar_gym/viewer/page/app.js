// The page: navigation, keys, light and dark, and a newer version of the page while a run goes on.

const KEYS = [
  ["1 2 3 4", "overview, episodes, comparison, settings"],
  ["/", "search the episodes"],
  ["j k, arrows", "move in the list"],
  ["Enter", "open the episode"],
  ["Escape", "back"],
  ["n p", "next and previous turn"],
  ["← →", "next and previous token"],
  ["s S", "next and previous token with a strong color"],
  ["c C", "color the tokens by the next measure"],
  ["[ ]", "previous and next episode of the list"],
  ["g", "the episode's group side by side"],
  ["t", "light, dark, as the system"],
  ["?", "these keys"],
];

const THEMES = ["system", "light", "dark"];

function storedTheme() {
  try { return localStorage.getItem("sdar-gym-theme") || "system"; } catch { return "system"; }
}

function useTheme() {
  const [theme, setTheme] = useState(storedTheme());
  const system = matchMedia("(prefers-color-scheme: dark)");
  const [dark, setDark] = useState(system.matches);
  useEffect(() => {
    const changed = () => setDark(system.matches);
    system.addEventListener("change", changed);
    return () => system.removeEventListener("change", changed);
  }, []);
  useLayoutEffect(() => {
    document.documentElement.style.colorScheme = theme === "system" ? "light dark" : theme;
    try { localStorage.setItem("sdar-gym-theme", theme); } catch { /* Private windows may refuse it. */ }
  }, [theme]);
  const next = () => setTheme(THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length]);
  return [theme, `${theme}${dark}`, next];
}

// While a run goes on, a small script beside the page says which version of the page is the newest.
function useNewerVersion() {
  useEffect(() => {
    if (!INDEX.refresh) return undefined;
    window.sdarVersion = (version) => { if (version !== INDEX.refresh.version) location.reload(); };
    const timer = setInterval(() => {
      const script = document.createElement("script");
      script.src = `${INDEX.refresh.script}?${Date.now()}`;
      script.onload = script.onerror = () => script.remove();
      document.head.append(script);
    }, 1000);
    return () => clearInterval(timer);
  }, []);
}

function Help({ close }) {
  return html`<div class="help" role="dialog" aria-label="Keys" onClick=${close}><div><h2>Keys</h2><dl>${KEYS.map(([keys, what]) => html`<dt><kbd>${keys}</kbd></dt><dd>${what}</dd>`)}</dl></div></div>`;
}

const PAGES = [
  ["overview", "Overview"], ["episodes", "Episodes"], ...(RECORDINGS.length > 1 ? [["compare", "Compare"]] : []), ["settings", "Settings"],
];

function App() {
  const { parts, parameters } = useRoute();
  const [theme, colors, nextTheme] = useTheme();
  const [help, setHelp] = useState(false);
  useNewerVersion();
  const page = parts[0] || "overview";
  useKeys({
    1: () => go("/overview"), 2: () => go("/episodes"), 3: () => RECORDINGS.length > 1 && go("/compare"), 4: () => go("/settings"),
    t: nextTheme, "?": () => setHelp(!help), ...(help ? { Escape: () => setHelp(false) } : {}),
  });
  useEffect(() => { document.title = `${RECORDINGS.map((recording) => recording.name).join(" and ")} · SDAR Gym`; }, []);
  const shown = {
    overview: () => html`<${Overview} parameters=${parameters} theme=${colors} />`,
    episodes: () => html`<${EpisodeList} parameters=${parameters} />`,
    episode: () => html`<${Episode} parts=${parts} parameters=${parameters} />`,
    group: () => html`<${Group} parts=${parts} parameters=${parameters} />`,
    compare: () => html`<${Compare} parameters=${parameters} />`,
    pair: () => html`<${Pair} parts=${parts} parameters=${parameters} />`,
    settings: () => html`<${Settings} />`,
  }[page];
  const active = { episode: "episodes", group: "episodes", pair: "compare" }[page] || page;
  return html`
    <nav><strong>SDAR Gym</strong>${PAGES.map(([name, label]) => html`<a href=${address(`/${name}`)} aria-current=${active === name ? "page" : null}>${label}</a>`)}<span class="space"></span>
      ${INDEX.refresh && html`<span class="quiet">follows the run</span>`}<button id="theme" onClick=${nextTheme} title="t">${theme}</button><button id="help" onClick=${() => setHelp(true)} title="?">keys</button></nav>
    ${shown ? shown() : html`<main><p class="notice">There is no page ${page}. <a href="#/overview">Overview</a></p></main>`}
    ${help && html`<${Help} close=${() => setHelp(false)} />`}`;
}

render(html`<${App} />`, document.getElementById("app"));
