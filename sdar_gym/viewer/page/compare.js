// Two recordings task by task: who solved what, by type, and both episodes of a task side by side.

const evaluationsOf = (recording) => RECORDINGS[recording].batches.filter((batch) => !batch.startsWith("train"));

// Success of each task in a batch: {task: {share, row}}; with several episodes a task the share of those won.
function tasksOf(recording, batch) {
  const tasks = new Map();
  for (const row of ROWS) {
    if (row.recording !== recording || row.batch !== batch) continue;
    const task = tasks.get(row.task) || { rows: [], won: 0 };
    task.rows.push(row);
    task.won += row.won;
    tasks.set(row.task, task);
  }
  return tasks;
}

function compared(first, second) {
  const pairs = [];
  for (const [task, a] of first) {
    const b = second.get(task);
    if (b) pairs.push({ task, a, b, first: a.won / a.rows.length, second: b.won / b.rows.length });
  }
  return pairs;
}

// Two-sided exact McNemar test: the chance of a split at least this uneven, if both directions were equally likely.
function mcnemar(wins, losses) {
  const n = wins + losses;
  if (n === 0) return 1;
  let sum = 0, term = -n * Math.LN2;
  for (let k = 0; k <= Math.min(wins, losses); k++) {
    sum += Math.exp(term);
    term += Math.log(n - k) - Math.log(k + 1);
  }
  return Math.min(1, 2 * sum);
}

const CELLS = [
  { key: "gained", label: `only ${RECORDINGS[1]?.name}`, test: (pair) => pair.second > pair.first },
  { key: "dropped", label: `only ${RECORDINGS[0].name}`, test: (pair) => pair.first > pair.second },
  { key: "both", label: "both", test: (pair) => pair.first === pair.second && pair.first > 0 },
  { key: "neither", label: "neither", test: (pair) => pair.first === pair.second && pair.first === 0 },
];

function Compare({ parameters }) {
  const sides = [0, 1].map((recording) => {
    const batches = evaluationsOf(recording), wanted = parameters[recording ? "b" : "a"];
    return { recording, batches, batch: batches.includes(wanted) ? wanted : batches.at(-1) };
  });
  const pairs = useMemo(() => compared(tasksOf(0, sides[0].batch), tasksOf(1, sides[1].batch)), [sides[0].batch, sides[1].batch]);
  const cells = CELLS.map((cell) => ({ ...cell, pairs: pairs.filter(cell.test) }));
  const [gained, dropped] = cells.map((cell) => cell.pairs.length);
  const types = [...new Set(pairs.map((pair) => pair.a.rows[0].type))].sort();
  const mean = (list, side) => (list.length ? list.reduce((sum, pair) => sum + pair[side], 0) / list.length : null);
  const shown = cells.find((cell) => cell.key === parameters.cell) || cells[0];
  const hashes = RECORDINGS.map((recording) => recording.result.panel_hash);
  const numbers = INDEX.comparison;
  const standard = numbers && sides.every((side) => side.batch === side.batches.at(-1));
  if (sides.some((side) => !side.batch)) return html`<main><p class="notice">Both need an evaluation to be compared.</p></main>`;
  return html`<main class="compare">
    <div class="bar">${sides.map((side) => html`<span class=${`mark run-${side.recording}`}></span><strong>${RECORDINGS[side.recording].name}</strong>
      ${side.batches.length > 1 && html`<select id=${`batch-${side.recording}`} onChange=${(event) => setParameters({ [side.recording ? "b" : "a"]: event.target.value })}>${side.batches.map((batch) => html`<option value=${batch} selected=${batch === side.batch}>${batch}</option>`)}</select>`}`)}</div>
    ${hashes[0] !== hashes[1] && html`<p class="notice">The panels differ (${hashes.join(", ")}): only the ${count(pairs.length, "task")} that both have are compared, and the difference is no result of an evaluation.</p>`}
    ${pairs.length === 0 && html`<p class="notice">They have no task in common.</p>`}
    <section class="columns">
      <div><h2>Success on ${count(pairs.length, "task")}</h2><table>
        <thead><tr><th></th><th>${RECORDINGS[0].name}</th><th>${RECORDINGS[1].name}</th><th>difference</th></tr></thead>
        <tbody>${[["all tasks", pairs], ...types.map((type) => [type, pairs.filter((pair) => pair.a.rows[0].type === type)])].map(([label, list], place) => html`<tr class=${place === 0 ? "strong" : ""}><td>${label}</td><td class="number">${percent(mean(list, "first"))}</td><td class="number">${percent(mean(list, "second"))}</td><td class=${classes("number", mean(list, "second") > mean(list, "first") ? "won" : mean(list, "second") < mean(list, "first") ? "lost" : "")}>${points(mean(list, "second") - mean(list, "first"))}</td></tr>`)}</tbody></table>
        <p class="quiet">${standard ? `Paired difference ${points(numbers.difference)} points, 95 % interval ${points(numbers.low)} to ${points(numbers.high)} (${numbers.method}). ` : ""}${count(gained + dropped, "task")} ${gained + dropped === 1 ? "differs" : "differ"}; exact McNemar p = ${number(mcnemar(gained, dropped), 4)}.</p>
      </div>
      <div><h2>Who solved it</h2><div class="cells">${cells.map((cell) => html`<button class=${classes("cell", cell.key, cell.key === shown.key && "selected")} onClick=${() => setParameters({ cell: cell.key })}><strong>${cell.pairs.length}</strong> ${cell.label}</button>`)}</div></div>
    </section>
    <h2>${shown.label}: ${count(shown.pairs.length, "task")}</h2>
    <ul class="pairs">${shown.pairs.slice(0, 500).map((pair) => html`<li><a href=${address(`/pair/${pair.task}`, { a: sides[0].batch, b: sides[1].batch, cell: shown.key })}>${pair.a.rows[0].goal}</a> <span class="quiet">${pair.a.rows[0].type} · ${pair.task}${pair.a.rows.length > 1 ? ` · ${pair.a.won} and ${pair.b.won} of ${pair.a.rows.length}` : ""}</span></li>`)}</ul>
    ${shown.pairs.length > 500 && html`<p class="quiet">and ${shown.pairs.length - 500} more</p>`}
  </main>`;
}

function Pair({ parts, parameters }) {
  const task = parts.slice(1).join("/");
  const rows = useMemo(() => [["a", 0], ["b", 1]].flatMap(([name, recording]) => ROWS.filter((row) => row.recording === recording && row.batch === parameters[name] && row.task === task)), [task, parameters.a, parameters.b]);
  const contents = useEpisodes(rows);
  const back = { a: parameters.a, b: parameters.b, cell: parameters.cell };
  useKeys({ Escape: () => go("/compare", back) });
  if (!rows.length) return html`<main><p class="notice">This page has no episodes of ${task}.</p></main>`;
  return html`<main class="group">
    <header class="bar"><a href=${address("/compare", back)}>← comparison</a></header>
    <section class="about"><h2>${rows[0].goal}</h2><p>${rows[0].type} · <code>${task}</code></p></section>
    ${contents instanceof Error ? html`<p class="notice">${contents.message}</p>` : contents === null ? html`<p class="quiet">decoding…</p>` : html`<${Beside} rows=${rows} contents=${contents} parameters=${parameters} labels=${rows.map((row) => RECORDINGS[row.recording].name)} />`}
  </main>`;
}
