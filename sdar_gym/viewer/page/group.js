// Episodes of one task beside one another: where their actions are the same, and where their paths part.

// The number of turns at the beginning in which all episodes have the same action.
function sharedTurns(episodes) {
  const shortest = Math.min(...episodes.map((episode) => episode.turns.length));
  for (let turn = 0; turn < shortest; turn++) {
    if (episodes.some((episode) => episode.turns[turn].action !== episodes[0].turns[turn].action)) return turn;
  }
  return shortest;
}

function Step({ content, turn, recording, measure, range, pick }) {
  const played = content.episode.turns[turn], tokens = content.tokens[turn + 1];
  if (!played) return html`<div class="step none"></div>`;
  return html`<div class="step">
    <span class="quiet">${turn + 1}</span> <span class="seen" title=${played.observation}>${played.observation}</span>
    ${tokens ? html`<${Tokens} tokens=${tokens} measure=${measure} range=${range} recording=${recording} selected=${null} pick=${pick} />` : html`<div class="action">${played.action}</div>`}
    ${played.valid_action === false && html`<span class="flag">not understood</span>`}${played.valid_form === false && html`<span class="flag">no valid form</span>`}${played.reward ? html`<span class=${classes("reward", played.reward > 0 ? "won" : "lost")}>${signed(played.reward, 2)}</span>` : ""}
  </div>`;
}

function Beside({ rows, contents, parameters, labels }) {
  const episodes = contents.map((content) => content.episode);
  const shared = sharedTurns(episodes), longest = Math.max(...episodes.map((episode) => episode.turns.length));
  const all = contents.flatMap((content) => Object.values(content.tokens));
  const color = colorOf(parameters, all), measure = MEASURES[color];
  const range = useMemo(() => (measure ? rangeOf(measure, all, rows[0].recording) : 1), [contents, color]);
  useKeys({ c: () => { const names = ["none", ...Object.keys(MEASURES)]; setParameters({ color: names[(names.indexOf(color) + 1) % names.length] }); } });
  const turns = Array.from({ length: longest }, (_, turn) => turn);
  const pick = (row, turn) => (token) => go(row.path, { color: parameters.color, token: `${turn + 1}.${token}` });
  return html`
    ${all.length > 0 && html`<div class="bar"><${MeasureSelect} tokens=${all} value=${color} onChange=${(value) => setParameters({ color: value })} />${measure && html`<${Legend} measure=${measure} range=${range} />`}</div>`}
    <div class="scroll"><div class="beside" style=${`--members:${rows.length}`}>
      ${rows.map((row, at) => html`<div class="member"><a href=${address(row.path, { color: parameters.color })}>${labels?.[at] ?? `episode ${row.episode}`}</a> <span class=${row.won ? "badge won" : "badge lost"}>${outcome(row)}</span> <span class="quiet">${count(row.turns, "turn")}, reward ${number(row.reward, 2)}</span></div>`)}
      ${shared > 0 && html`<details class="shared" open=${shared <= 3}><summary>${shared === longest ? "The same actions to the end" : `The first ${count(shared, "turn")} are the same`}</summary>
        ${turns.slice(0, shared).map((turn) => html`<${Step} content=${contents[0]} turn=${turn} recording=${rows[0].recording} measure=${measure} range=${range} pick=${pick(rows[0], turn)} />`)}</details>`}
      ${shared < longest && html`<div class="parting">${shared === 0 ? "Their paths part at the first turn" : `Their paths part at turn ${shared + 1}`}</div>`}
      ${turns.slice(shared).map((turn) => contents.map((content, at) => html`<${Step} key=${`${turn}-${at}`} content=${content} turn=${turn} recording=${rows[at].recording} measure=${measure} range=${range} pick=${pick(rows[at], turn)} />`))}
    </div></div>`;
}

function Group({ parts, parameters }) {
  const [, recording, batch, group] = parts;
  const rows = useMemo(() => membersOf(Number(recording), batch, group), [recording, batch, group]);
  const contents = useEpisodes(rows);
  useKeys({ Escape: () => (rows.length ? go(rows[0].path, { color: parameters.color }) : go("/episodes")) });
  if (!rows.length) return html`<main><p class="notice">This page has no group ${parts.slice(1).join(" ")}.</p></main>`;
  const won = rows.filter((row) => row.won).length;
  return html`<main class="group">
    <header class="bar"><a href=${address("/episodes")}>← episodes</a><span class="quiet">${rows[0].kind} at update ${rows[0].update}, group ${group}: ${won} of ${rows.length} won</span></header>
    <section class="about"><h2>${rows[0].goal}</h2><p>${rows[0].type} · <code>${rows[0].task}</code></p></section>
    ${contents instanceof Error ? html`<p class="notice">${contents.message}</p>` : contents === null ? html`<p class="quiet">decoding…</p>` : html`<${Beside} rows=${rows} contents=${contents} parameters=${parameters} />`}
  </main>`;
}
