// The list of episodes: filtered, sorted, and only the rows in view are in the document.

const ROW_HEIGHT = 32;

const LIST_COLUMNS = [
  { key: "batch", label: "episodes of", value: (row) => row.update * 2 + (row.kind === "training" ? 0 : 1), text: (row) => `${row.kind} ${row.update}` },
  { key: "type", label: "task type", value: (row) => row.type, text: (row) => row.type },
  { key: "goal", label: "goal", value: (row) => row.goal, text: (row) => row.goal, wide: true },
  { key: "outcome", label: "outcome", value: outcome, text: outcome, class: (row) => (row.won ? "won" : "lost") },
  { key: "reward", label: "reward", value: (row) => row.reward, text: (row) => number(row.reward, 2), number: true },
  { key: "turns", label: "turns", value: (row) => row.turns, text: (row) => row.turns, number: true },
  { key: "invalid", label: "invalid", value: (row) => row.invalid, text: (row) => row.invalid || "", number: true, about: "Turns whose response had no valid form or action." },
  { key: "gap", label: "mean gap", value: (row) => row.gap ?? -Infinity, text: (row) => (row.gap === null ? "" : signed(row.gap)), number: true, about: "Mean of log p teacher − log p student, in nats; only where tokens were recorded." },
  { key: "gate", label: "mean gate", value: (row) => row.gate ?? -Infinity, text: (row) => (row.gate === null ? "" : number(row.gate)), number: true },
];

function matches(row, filters) {
  if (filters.recording && row.recording !== Number(filters.recording)) return false;
  if (filters.kind === "tokens" ? !row.tokens : filters.kind && row.kind !== filters.kind) return false;
  if (filters.update && row.update !== Number(filters.update)) return false;
  if (filters.type && row.type !== filters.type) return false;
  if (filters.outcome && (filters.outcome === "not won" ? row.won : outcome(row) !== filters.outcome)) return false;
  const words = (filters.q || "").toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return true;
  const text = `${row.task} ${row.goal} ${row.episode}`.toLowerCase();
  return words.every((word) => text.includes(word));
}

function listed(filters) {
  const rows = ROWS.filter((row) => matches(row, filters));
  const [key, direction] = (filters.sort || "").split(".");
  const column = LIST_COLUMNS.find((each) => each.key === key);
  if (!column) return rows;
  const sign = direction === "down" ? -1 : 1;
  const keyed = rows.map((row) => [column.value(row), row]);
  keyed.sort(([a, first], [b, second]) => (a < b ? -sign : a > b ? sign : first.number - second.number));
  return keyed.map(([, row]) => row);
}

const useListed = (parameters) => useMemo(() => listed(parameters), [FILTERS.map((name) => parameters[name]).join("\n")]);

function Select({ id, label, value, options, onChange }) {
  return html`<label class="field">${label} <select id=${id} value=${value || ""} onChange=${(event) => onChange(event.target.value)}>
    <option value="">all</option>${options.map((option) => html`<option value=${String(option.value ?? option)} selected=${String(option.value ?? option) === value}>${option.label ?? option}</option>`)}
  </select></label>`;
}

function Filters({ parameters, shown }) {
  const set = (name) => (value) => setParameters({ [name]: value });
  const outcomes = useMemo(() => ["not won", ...[...new Set(ROWS.map(outcome))].sort()], []);
  const updates = useMemo(() => [...new Set(ROWS.map((row) => row.update))].sort((a, b) => a - b), []);
  const kinds = useMemo(() => ["evaluation", "training"].filter((kind) => ROWS.some((row) => row.kind === kind)).concat(ROWS.some((row) => row.tokens) ? [{ value: "tokens", label: "with tokens" }] : []), []);
  return html`<div class="filters">
    <label class="field">search <input id="search" type="search" placeholder="goal or task" value=${parameters.q || ""} onInput=${(event) => set("q")(event.target.value)} /></label>
    ${RECORDINGS.length > 1 && html`<${Select} id="recording" label="run" value=${parameters.recording} options=${RECORDINGS.map((recording, value) => ({ value, label: recording.name }))} onChange=${set("recording")} />`}
    <${Select} id="kind" label="episodes" value=${parameters.kind} options=${kinds} onChange=${set("kind")} />
    <${Select} id="update" label="update" value=${parameters.update} options=${updates} onChange=${set("update")} />
    <${Select} id="type" label="task type" value=${parameters.type} options=${[...TYPES].sort()} onChange=${set("type")} />
    <${Select} id="outcome" label="outcome" value=${parameters.outcome} options=${outcomes} onChange=${set("outcome")} />
    <output id="count">${shown} of ${count(ROWS.length, "episode")}</output>
  </div>`;
}

function EpisodeList({ parameters }) {
  const rows = useListed(parameters);
  const [selected, setSelected] = useState(Math.max(0, rows.findIndex((row) => row.path === LIST_MEMORY.path)));
  const [top, setTop] = useState(0);
  const scroller = useRef(null);
  const height = scroller.current?.clientHeight || window.innerHeight;
  const first = Math.max(0, Math.floor(top / ROW_HEIGHT) - 10), last = Math.min(rows.length, Math.ceil((top + height) / ROW_HEIGHT) + 10);
  const open = (row) => go(row.path, filtersOf(parameters));

  const select = (number) => {
    const place = Math.max(0, Math.min(rows.length - 1, number));
    setSelected(place);
    const box = scroller.current;
    if (place * ROW_HEIGHT < box.scrollTop) box.scrollTop = place * ROW_HEIGHT;
    if ((place + 1) * ROW_HEIGHT > box.scrollTop + box.clientHeight) box.scrollTop = (place + 1) * ROW_HEIGHT - box.clientHeight;
  };
  useEffect(() => { select(selected); }, []);
  useEffect(() => { if (selected >= rows.length) setSelected(0); }, [rows]);
  useKeys({
    j: () => select(selected + 1), ArrowDown: () => select(selected + 1),
    k: () => select(selected - 1), ArrowUp: () => select(selected - 1),
    PageDown: () => select(selected + Math.floor(height / ROW_HEIGHT)), PageUp: () => select(selected - Math.floor(height / ROW_HEIGHT)),
    Home: () => select(0), End: () => select(rows.length - 1),
    Enter: () => rows[selected] && open(rows[selected]),
    "/": () => document.getElementById("search").focus(),
  });

  const [key, direction] = (parameters.sort || "").split(".");
  const sort = (column) => setParameters({ sort: key !== column.key ? `${column.key}.up` : direction === "up" ? `${column.key}.down` : "" });
  const columns = RECORDINGS.length > 1 ? [{ key: "recording", label: "run", value: (row) => row.recording, text: (row) => html`<span class=${`mark run-${row.recording}`}></span>${RECORDINGS[row.recording].name}` }, ...LIST_COLUMNS] : LIST_COLUMNS;
  const widths = columns.map((column) => (column.wide ? "minmax(8rem, 3fr)" : column.number ? "4.6rem" : column.key === "type" ? "minmax(7rem, 2fr)" : "minmax(6rem, 7.5rem)")).join(" ");
  return html`<main class="list" style=${`--widths:${widths}`}>
    <${Filters} parameters=${parameters} shown=${rows.length} />
    <div class="head" role="row">${columns.map((column) => html`<button role="columnheader" class=${classes(column.number && "number")} title=${column.about || ""} aria-sort=${key === column.key ? (direction === "up" ? "ascending" : "descending") : "none"} onClick=${() => sort(column)}>${column.label}${key === column.key ? (direction === "up" ? " ↑" : " ↓") : ""}</button>`)}</div>
    <div class="scroller" ref=${scroller} tabindex="0" onScroll=${(event) => setTop(event.currentTarget.scrollTop)}>
      <div style=${`height:${rows.length * ROW_HEIGHT}px`}>
        <div style=${`transform:translateY(${first * ROW_HEIGHT}px)`}>
          ${rows.slice(first, last).map((row, at) => html`<a key=${row.number} role="row" class=${classes("row", first + at === selected && "selected")} href=${address(row.path, filtersOf(parameters))} onClick=${() => { LIST_MEMORY.path = row.path; }}>
            ${columns.map((column) => html`<span class=${classes(column.number && "number", column.class?.(row))} title=${column.wide ? column.text(row) : ""}>${column.text(row)}</span>`)}
          </a>`)}
        </div>
      </div>
      ${rows.length === 0 && html`<p class="notice">No episode matches. <button onClick=${() => setParameters(Object.fromEntries(FILTERS.map((name) => [name, ""])))}>Clear the filters</button></p>`}
    </div>
  </main>`;
}

// The episode that was looked at last, to come back to its row.
const LIST_MEMORY = { path: null };
