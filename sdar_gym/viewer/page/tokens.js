// A response as its tokens, colored by a measure, with the numbers of the token under the pointer or the cursor.

function Bar({ label, value, kind }) {
  return html`<div class="probability"><span>${label}</span><span class=${`meter ${kind}`}><span style=${`width:${100 * (value ?? 0)}%`}></span></span><span class="number">${value === null ? "–" : number(value, 4)}</span></div>`;
}

function TokenCard({ tokens, place, recording }) {
  const value = (name) => tokenValue(name)(tokens, place);
  const clip = clipped(tokens, place, recording);
  const change = MEASURES.change.value(tokens, place);
  const lines = [
    ["gap", value("gap") === null ? null : `${signed(value("gap"), 4)} nats`],
    ["gate", value("gate") === null ? null : number(value("gate"), 4)],
    ["advantage", value("token_advantage") === null ? null : signed(value("token_advantage"), 4)],
    ["loss weight", value("weight") === null ? null : number(value("weight"), 5)],
    ["entropy", value("entropy") === null ? null : `${number(value("entropy"), 4)} nats`],
    ["change by the update", change === null ? null : `${signed(change, 4)} nats`],
    ["clipped", clip === null ? null : clip === 0 ? "no" : clip > 0 ? "above" : "below"],
  ];
  return html`<div class="card" role="status">
    <div class="token-name"><code>${visible(tokens.token[place])}</code> <span class="quiet">${tokens.class[place]}</span></div>
    <${Bar} label="student" kind="student" value=${probability(value("student_logp"))} />
    <${Bar} label="teacher" kind="teacher" value=${probability(value("teacher_logp"))} />
    <dl>${lines.filter(([, text]) => text !== null).map(([name, text]) => html`<dt>${name}</dt><dd>${text}</dd>`)}</dl>
  </div>`;
}

// selected: place of the token with the cursor, or null; pick: called with a place.
function Tokens({ tokens, measure, range, recording, selected, pick }) {
  const [pointed, setPointed] = useState(null);
  const shown = pointed ?? selected;
  return html`<div class="tokens" onMouseLeave=${() => setPointed(null)}>
    <div class="pieces">${tokens.token.map((text, place) => html`<span
      class=${classes("token", tokens.class[place], place === selected && "selected", measure === MEASURES.clip && clipped(tokens, place, recording) && "clipped")}
      style=${measure ? background(measure, measure.value(tokens, place, recording), range) : ""}
      onMouseEnter=${() => setPointed(place)} onClick=${() => pick(place)}>${/\n$/.test(text) ? html`${text.slice(0, -1)}<br />` : text}</span>`)}</div>
    ${shown !== null && shown !== undefined && shown < tokens.token.length && html`<${TokenCard} tokens=${tokens} place=${shown} recording=${recording} />`}
  </div>`;
}

// A response without recorded tokens: its thought and the rest.
function PlainResponse({ text }) {
  const match = /^([\s\S]*<\/think>)([\s\S]*)$/.exec(text);
  return html`<div class="pieces">${match ? html`<span class="think">${match[1]}</span>${match[2]}` : text}</div>`;
}
