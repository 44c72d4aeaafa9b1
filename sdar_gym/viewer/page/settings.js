// The settings and versions of the recordings, side by side, those that differ first.

function flat(value, prefix = "") {
  if (value === null || typeof value !== "object" || Array.isArray(value) || !Object.keys(value).length) return { [prefix]: value === undefined ? "" : JSON.stringify(value) };
  return Object.assign({}, ...Object.entries(value).map(([key, inner]) => flat(inner, prefix ? `${prefix}.${key}` : key)));
}

function Settings() {
  const columns = RECORDINGS.map((recording) => ({ ...flat(recording.settings), ...flat(recording.versions, "versions") }));
  const names = [...new Set(columns.flatMap(Object.keys))].filter(Boolean);
  const differs = (name) => columns.some((column) => column[name] !== columns[0][name]);
  const ordered = [...names.filter(differs), ...names.filter((name) => !differs(name))];
  return html`<main><h2>Settings</h2><div class="scroll"><table class="settings">
    <thead><tr><th></th>${RECORDINGS.map((recording) => html`<th>${recording.name}</th>`)}</tr></thead>
    <tbody>${ordered.map((name) => html`<tr class=${differs(name) ? "strong" : ""}><td>${name}</td>${columns.map((column) => html`<td><code>${column[name] ?? "–"}</code></td>`)}</tr>`)}</tbody>
  </table></div><p class="quiet">Written by SDAR Gym ${INDEX.version}.</p></main>`;
}
