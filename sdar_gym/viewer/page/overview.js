// The overview: what was run, learning curves with intervals, success by task type, any metric.

// Shown first, where the run has them.
const FIRST_METRICS = ["teacher/gap/action", "teacher/gate/action", "learner/distill_loss", "learner/policy_loss", "learner/entropy", "train/valid_action"];

function successLines() {
  const lines = [], bands = [];
  RECORDINGS.forEach((recording, number) => {
    const results = recording.evaluations, x = results.map((result) => result.update), color = PALETTE[number];
    const named = (label) => (RECORDINGS.length > 1 ? `${recording.name}: ${label}` : label);
    if (results.length) {
      const first = lines.length;
      lines.push({ label: named("evaluation"), x, y: results.map((result) => result.success), color });
      lines.push({ label: named("95 % to"), x, y: results.map((result) => result.success_high), color, hidden: true });
      lines.push({ label: named("95 % from"), x, y: results.map((result) => result.success_low), color, hidden: true });
      bands.push([first + 1, first + 2, color]);
    }
    const taught = results.filter((result) => result.teacher);
    if (taught.length) {
      lines.push({ label: named("its teacher"), x: taught.map((result) => result.update), y: taught.map((result) => result.teacher.success), color, dash: [3, 4], width: 1.5 });
    }
    const train = recording.metrics["train/success"];
    if (train) lines.push({ label: named("training episodes"), x: train[0], y: train[1], color, width: 0.7, points: false });
  });
  return { lines, bands };
}

function metricLines(name) {
  return RECORDINGS.flatMap((recording, number) => {
    const series = recording.metrics[name];
    return series ? [{ label: RECORDINGS.length > 1 ? recording.name : name, x: series[0], y: series[1], color: PALETTE[number], points: series[0].length < 60, width: 1.5 }] : [];
  });
}

function Facts({ recording, number }) {
  const { settings, result } = recording;
  const facts = [
    ["environment", settings.env || result.panel],
    ["method", settings.method],
    ["policy", settings.policy?.model],
    ["learning rate", settings.training?.lr],
    ["episodes an update", settings.training && settings.training.group_size * settings.training.tasks_per_iteration],
    ["skills", settings.skills && [settings.skills.strategy, settings.skills.library].filter(Boolean).join(", ")],
    ["panel", result.panel && `${result.panel} (${result.panel_hash})`],
    ["seed", settings.seed],
  ].filter(([, value]) => value !== undefined && value !== null && value !== "");
  return html`<section class="facts">
    <h2><span class=${`mark run-${number}`}></span>${recording.name}</h2>
    <dl>${facts.map(([name, value]) => html`<dt>${name}</dt><dd>${String(value)}</dd>`)}</dl>
  </section>`;
}

function resultsOf(recording) {
  const results = recording.evaluations;
  if (results.length > 1) return [[`update ${results[0].update}`, results[0]], [`update ${results.at(-1).update}`, results.at(-1)]];
  if (results.length) return [[`update ${results[0].update}`, results[0]]];
  return recording.result.success === undefined ? [] : [["result", recording.result]];
}

// Success of each task type at the first and the last evaluation; a type leads to its episodes.
function TypeTable() {
  const columns = RECORDINGS.flatMap((recording, number) => resultsOf(recording).map(([label, result]) => ({ number, label, result })));
  if (!columns.length) return null;
  const types = [...new Set(columns.flatMap(({ result }) => Object.keys(result).filter((key) => key.startsWith("success/"))))].sort();
  const cell = (value) => html`<td class="number"><span class="bar" style=${`--share:${value ?? 0}`}></span>${percent(value)}</td>`;
  return html`<section><h2>Success by task type</h2><div class="scroll"><table class="types">
    <thead><tr><th></th>${columns.map(({ number, label }) => html`<th>${RECORDINGS.length > 1 && html`<span class=${`mark run-${number}`}></span>`}${label}</th>`)}</tr></thead>
    <tbody>
      <tr class="strong"><td>all tasks</td>${columns.map(({ result }) => cell(result.success))}</tr>
      <tr class="quiet"><td>95 % interval</td>${columns.map(({ result }) => html`<td class="number">${percent(result.success_low)} to ${percent(result.success_high)}</td>`)}</tr>
      ${types.map((key) => html`<tr><td><a href=${address("/episodes", { type: key.slice(8) })}>${key.slice(8)}</a></td>${columns.map(({ result }) => cell(result[key]))}</tr>`)}
    </tbody></table></div></section>`;
}

function Overview({ parameters, theme }) {
  const success = useMemo(successLines, []);
  const names = useMemo(() => [...new Set(RECORDINGS.flatMap((recording) => Object.keys(recording.metrics)))].sort(), []);
  const chosen = parameters.metrics ? parameters.metrics.split(",").filter((name) => names.includes(name)) : FIRST_METRICS.filter((name) => names.includes(name));
  const charts = useMemo(() => chosen.map((name) => [name, metricLines(name)]), [chosen.join()]);
  const set = (list) => setParameters({ metrics: list.join(",") || "none" });
  return html`<main class="overview">
    <div class="columns">${RECORDINGS.map((recording, number) => html`<${Facts} recording=${recording} number=${number} />`)}</div>
    ${INDEX.notices.map((notice) => html`<p class="notice">${notice}</p>`)}
    ${success.lines.length > 0 && html`<${Chart} title="Success: evaluation with its 95 % interval, training episodes (thin), teacher (dashed)" ...${success} range=${[0, 1]} height=${300} theme=${theme} />`}
    <${TypeTable} />
    ${names.length > 0 && html`<section><h2>Metrics</h2>
      <label class="field">add <select id="metric" value="" onChange=${(event) => event.target.value && set([...chosen, event.target.value])}>
        <option value="">a metric…</option>${names.filter((name) => !chosen.includes(name)).map((name) => html`<option value=${name}>${name}</option>`)}
      </select></label>
      <div class="charts">${charts.map(([name, lines]) => html`<div key=${name}><button class="remove" title="Remove this chart" onClick=${() => set(chosen.filter((other) => other !== name))}>×</button><${Chart} title=${name} lines=${lines} height=${170} theme=${theme} /></div>`)}</div>
    </section>`}
  </main>`;
}
