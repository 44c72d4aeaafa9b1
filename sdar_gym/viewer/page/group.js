// Episodes of one task beside one another: where their actions are the same, and where their paths part.

// The number of turns at the beginning in which all episodes have the same action.
function sharedTurns(episodes) {
  const shortest = Math.min(...episodes.map((episode) => episode.turns.length));
  for (let turn = 0; turn < shortest; turn++) {
    if (episodes.some((episode) => episode.turns[turn].action !== episodes[0].turns[turn].action)) return turn;
  }
  return shortest;
}

function Beside({ rows, contents, parameters, labels }) {
  const episodes = contents.map((content) => content.episode);
  const shared = sharedTurns(episodes), longest = Math.max(...episodes.map((episode) => episode.turns.length));
  const all = contents.flatMap((content) => Object.values(content.tokens));
  const color = colorOf(parameters, all), measure = MEASURES[color];
  const ranges = useMemo(() => (measure ? rangeOf(measure, all, rows[0].recording) : 1), [contents, color]);
  useKeys({ c: () => { const names = ["none", ...Object.keys(MEASURES)]; setParameters({ color: names[(names.indexOf(color) + 1) % names.length] }); } });
  const turns = Array.from({ length: longest }, (_, turn) => turn);
  return html`
    ${all.length > 0 && html`<div class="bar"><${MeasureSelect} tokens=${all} value=${color} onChange=${(value) => setParameters({ color: value })} />${measure && html`<${Legend} measure=${measure} range=${ranges} />`}</div>`}
    <div class="scroll"><div class="beside" style=${`--members:${rows.length}`}>
      ${rows.map((row, at) => html`<div class="member"><a href=${address(row.path, { color: parameters.color })}>${labels?.[at] ?? `episode ${row.episode}`}</a> <span class=${row.won ? "badge won" : "badge lost"}>${outcome(row)}</span> <span class="quiet">${count(row.turns, "turn")}, reward ${number(row.reward, 2)}</span></div>`)}
      ${turns.map((turn) => html`
        ${turn === shared && html`<div class="parting">${shared === 0 ? "different from the first turn on" : shared === longest ? "the same to the end" : `the same up to here (${count(shared, "turn")}); from here their paths part`}</div>`}
        ${contents.map(({ episode, tokens }, at) => {
          const played = episode.turns[turn];
          if (!played) return html`<div class="step none"></div>`;
          return html`<div class=${classes("step", turn < shared && "same")} key=${`${turn}-${at}`}>
            <span class="quiet">${turn + 1}</span> <span class="seen" title=${played.observation}>${played.observation}</span>
            ${tokens[turn + 1] ? html`<${Tokens} tokens=${tokens[turn + 1]} measure=${measure} range=${ranges} recording=${rows[at].recording} selected=${null} pick=${(token) => go(rows[at].path, { color: parameters.color, token: `${turn + 1}.${token}` })} />` : html`<div class="action">${played.action}</div>`}
            ${played.valid_action === false && html`<span class="flag">not understood</span>`}${played.valid_form === false && html`<span class="flag">no valid form</span>`}${played.reward ? html`<span class=${classes("reward", played.reward > 0 ? "won" : "lost")}>${signed(played.reward, 2)}</span>` : ""}
          </div>`;
        })}`)}
      ${shared === longest && html`<div class="parting">the same to the end</div>`}
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
