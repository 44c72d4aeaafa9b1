// An episode as a chat: observation, response by token, action and reward of every turn, with the teacher's context.

function Folded({ text, lines = 8, name }) {
  const long = text.split("\n").length > lines || text.length > 900;
  const [open, setOpen] = useState(!long);
  return html`<div class=${classes("text", !open && "folded")}>${text}</div>
    ${long && html`<button class="more" onClick=${() => setOpen(!open)}>${open ? "less" : `all of the ${name}`}</button>`}`;
}

function Skills({ episode, recording }) {
  const known = RECORDINGS[recording].skills;
  if (!episode.skills?.length) return html`<p class="quiet">No skill was retrieved${episode.skill_strategy ? ` (${episode.skill_strategy})` : ""}.</p>`;
  return html`<div class="skills"><h3>Retrieved skills <span class="quiet">${episode.skill_strategy}${episode.skill_backend && episode.skill_backend !== "none" ? `, ${episode.skill_backend}` : ""}</span></h3>
    ${episode.skills.map((id, place) => html`<details><summary><strong>${known[id]?.title || id}</strong> <span class="quiet">${known[id] ? id : ""} score ${episode.skill_scores?.[place] === null ? "not tried yet" : number(episode.skill_scores?.[place])}</span></summary><div class="text">${known[id]?.text || "Its text is not in this page: the library could not be read when the page was written."}</div></details>`)}
  </div>`;
}

// What only the teacher read; in a conversation it stands in the first prompt and holds for the turns after it.
function teacherContexts(episode, tokens) {
  let last = null;
  return episode.turns.map((_, place) => {
    const text = tokens[place + 1]?.teacher_context;
    if (text) last = text;
    return text === undefined || text === null ? null : last;
  });
}

function Actions({ turn }) {
  const actions = turn.admissible_actions;
  if (!actions?.length) return null;
  return html`<details class="actions"><summary>${count(actions.length, "admissible action")}</summary><ul>${actions.map((action) => html`<li class=${classes(action === turn.action && "chosen")}>${action}</li>`)}</ul></details>`;
}

function Turn({ turn, place, tokens, context, repeated, measure, range, recording, cursor, pick, compact }) {
  const selected = cursor && cursor[0] === place + 1 ? cursor[1] : null;
  return html`<article class=${classes("turn", cursor && cursor[0] === place + 1 && "current")} id=${`turn-${place + 1}`}>
    <div class="observation"><h4>turn ${place + 1} <span class="quiet">observation</span></h4><${Folded} text=${turn.observation} lines=${compact ? 4 : 10} name="observation" />${!compact && html`<${Actions} turn=${turn} />`}</div>
    ${context && !repeated && html`<div class="context"><h4>only in the teacher's prompt</h4><${Folded} text=${context.trim()} lines=${6} name="teacher's context" /></div>`}
    <div class="response">
      <h4>response <span class="quiet">${tokens ? `${count(tokens.token.length, "token")}${tokens.advantage === undefined || tokens.advantage === null ? "" : `, advantage ${signed(tokens.advantage)}`}` : turn.response_tokens === undefined ? "" : count(turn.response_tokens, "token")}${turn.finish_reason === "length" ? ", cut off" : ""}</span></h4>
      ${tokens ? html`<${Tokens} tokens=${tokens} measure=${measure} range=${range} recording=${recording} selected=${selected} pick=${(token) => pick(place + 1, token)} />` : html`<${PlainResponse} text=${turn.response} />`}
      <div class="outcome"><span class="action">→ ${turn.action}</span>
        ${turn.valid_form === false && html`<span class="flag">not in the required form</span>`}${turn.valid_action === false && html`<span class="flag">not understood</span>`}
        ${turn.reward ? html`<span class=${classes("reward", turn.reward > 0 ? "won" : "lost")}>reward ${signed(turn.reward, 2)}</span>` : ""}</div>
      ${turn.feedback && html`<details class="feedback"><summary>the verifier's feedback</summary><div class="text">${turn.feedback}</div></details>`}
    </div>
  </article>`;
}

function MeasureSelect({ tokens, value, onChange }) {
  const known = Object.keys(MEASURES).filter((name) => tokens.some((turn) => turn.token.some((_, place) => MEASURES[name].value(turn, place, 0) !== null)));
  return html`<label class="field">color by <select id="color" value=${value} onChange=${(event) => onChange(event.target.value)}>
    <option value="none" selected=${value === "none"}>nothing</option>${Object.entries(MEASURES).map(([name, measure]) => html`<option value=${name} selected=${name === value} disabled=${!known.includes(name) && name !== "clip"}>${measure.label}</option>`)}
  </select></label>`;
}

// One cell a turn, colored by its strongest token: where to look in a long episode.
function TurnStrip({ turns, tokens, measure, range, recording, current, jump }) {
  return html`<div class="strip">${turns.map((_, at) => {
    const values = (tokens[at + 1]?.token || []).map((_, place) => measure.value(tokens[at + 1], place, recording)).filter((value) => value !== null);
    const strongest = values.reduce((best, value) => (Math.abs(value) > Math.abs(best) ? value : best), 0);
    return html`<button class=${classes(current === at + 1 && "current")} style=${background(measure, strongest, range)} title=${`turn ${at + 1}: ${signedIf(measure, strongest)} ${measure.unit}`} onClick=${() => jump(at + 1)}>${at + 1}</button>`;
  })}</div>`;
}

// Turn, from 1, and token, from 0, of the cursor; null without one.
const cursorOf = (parameters) => (parameters.token ? parameters.token.split(".").map(Number) : null);

const colorOf = (parameters, tokens) => parameters.color || (tokens.some((turn) => turn.gap) ? "gap" : tokens.length ? "advantage" : "none");

function Episode({ parts, parameters }) {
  const [, recordingText, batch, ...rest] = parts;
  const recording = Number(recordingText);
  const row = findRow(recording, batch, rest.join("/"));
  const rows = useListed(parameters);
  const found = useEpisodes(row ? [row] : []);
  const content = Array.isArray(found) ? found[0] : null;
  const turns = content ? content.episode.turns : [];
  const all = content ? Object.values(content.tokens) : [];
  const color = colorOf(parameters, all), measure = MEASURES[color];
  const range = useMemo(() => (measure && content ? rangeOf(measure, all, recording) : 1), [content, color]);
  const cursor = cursorOf(parameters);
  // For keys that come faster than the page is drawn.
  const cursorNow = () => cursorOf(readRoute().parameters);
  const members = row ? membersOf(recording, batch, row.group) : [];
  const place = row ? rows.indexOf(row) : -1;

  const open = (other) => other && go(other.path, { ...filtersOf(parameters), color: parameters.color });
  const pick = (turn, token) => setParameters({ token: `${turn}.${token}` });
  const jumpTo = (turn) => {
    pick(turn, 0);
    document.getElementById(`turn-${turn}`)?.scrollIntoView({ block: "start", behavior: "instant" });
  };
  const jump = (step) => jumpTo(Math.max(1, Math.min(turns.length, (cursorNow()?.[0] ?? (step > 0 ? 0 : turns.length + 1)) + step)));
  // To the next token with at least half of the largest value, for colors that have one.
  const strong = (step) => {
    if (!measure) return;
    const places = turns.flatMap((_, at) => (content.tokens[at + 1]?.token || []).map((_, place) => [at + 1, place]));
    const size = ([turn, place]) => Math.abs(measure.value(content.tokens[turn], place, recording) ?? 0);
    const limit = Math.min(range, Math.max(0, ...places.map(size))) / 2;
    const found = places.filter((place) => size(place) >= limit && limit > 0);
    const [turnNow, placeNow] = cursorNow() ?? [0, 0];
    const after = ([turn, place]) => (turn - turnNow) * step > 0 || (turn === turnNow && (place - placeNow) * step > 0);
    const next = (step > 0 ? found : [...found].reverse()).find(after);
    if (!next) return;
    pick(...next);
    document.getElementById(`turn-${next[0]}`)?.scrollIntoView({ block: "center", behavior: "instant" });
  };
  const move = (step) => {
    if (!content || !all.length) return;
    let [turn, token] = cursorNow() ?? [1, -1];
    token += step;
    const length = (number) => content.tokens[number]?.token.length ?? 0;
    if (token >= length(turn) && turn < turns.length) [turn, token] = [turn + 1, 0];
    if (token < 0) [turn, token] = turn > 1 ? [turn - 1, Math.max(0, length(turn - 1) - 1)] : [1, 0];
    pick(turn, Math.min(token, Math.max(0, length(turn) - 1)));
    document.getElementById(`turn-${turn}`)?.scrollIntoView({ block: "nearest", behavior: "instant" });
  };
  const cycle = (step) => {
    const names = ["none", ...Object.keys(MEASURES)];
    setParameters({ color: names[(names.indexOf(color) + step + names.length) % names.length] });
  };
  useKeys({
    n: () => jump(1), p: () => jump(-1), ArrowRight: () => move(1), ArrowLeft: () => move(-1), s: () => strong(1), S: () => strong(-1), c: () => cycle(1), C: () => cycle(-1),
    "]": () => open(rows[place + 1]), "[": () => open(rows[place - 1]),
    g: () => row && members.length > 1 && go(row.groupPath, { color: parameters.color }),
    Escape: () => go("/episodes", filtersOf(parameters)),
  });
  useEffect(() => {
    if (row) LIST_MEMORY.path = row.path;
    if (content && cursor) document.getElementById(`turn-${cursor[0]}`)?.scrollIntoView({ block: "center", behavior: "instant" });
  }, [content]);

  if (!row) return html`<main><p class="notice">This page has no episode ${parts.slice(1).join(" ")}.</p></main>`;
  if (found instanceof Error) return html`<main><p class="notice">${found.message}</p></main>`;
  if (!content) return html`<main><p class="quiet">decoding…</p></main>`;
  const { episode, tokens } = content;
  const contexts = teacherContexts(episode, tokens);
  return html`<main class="episode">
    <header class="bar">
      <a href=${address("/episodes", filtersOf(parameters))} title="Escape">← episodes</a>
      <span class="quiet">${place >= 0 ? `${place + 1} of ${rows.length}` : ""}</span>
      <button disabled=${place <= 0} onClick=${() => open(rows[place - 1])} title="[">previous</button>
      <button disabled=${place < 0 || place >= rows.length - 1} onClick=${() => open(rows[place + 1])} title="]">next</button>
      ${members.length > 1 && html`<a href=${address(row.groupPath, { color: parameters.color })} title="g">its group of ${members.length}</a>`}
      <span class="space"></span>
      ${all.length > 0 && html`<${MeasureSelect} tokens=${all} value=${color} onChange=${(value) => setParameters({ color: value })} />${measure && html`<${Legend} measure=${measure} range=${range} />`}`}
      ${measure && all.length > 0 && html`<${TurnStrip} turns=${turns} tokens=${tokens} measure=${measure} range=${range} recording=${recording} current=${cursor?.[0]} jump=${jumpTo} />`}
    </header>
    <section class="about">
      <h2>${episode.goal}</h2>
      <p><span class=${row.won ? "badge won" : "badge lost"}>${outcome(row)}</span> <span>${episode.task_type}</span> · <code>${episode.task_id}</code> · ${row.kind} at update ${row.update}, episode ${episode.episode_id} · ${count(turns.length, "turn")} · reward ${number(episode.reward, 2)}${RECORDINGS.length > 1 ? ` · ${RECORDINGS[recording].name}` : ""}</p>
      ${episode.error && html`<p class="notice">${episode.error}</p>`}
      <${Skills} episode=${episode} recording=${recording} />
      ${episode.reference && html`<details><summary>the reference solution</summary><div class="text">${episode.reference}</div></details>`}
      ${measure && all.length > 0 && html`<p class="quiet">${measure.about}</p>`}
    </section>
    ${turns.map((turn, at) => html`<${Turn} key=${at} turn=${turn} place=${at} tokens=${tokens[at + 1]} context=${contexts[at]} repeated=${at > 0 && contexts[at] === contexts[at - 1]} measure=${measure} range=${range} recording=${recording} cursor=${cursor} pick=${pick} />`)}
  </main>`;
}
