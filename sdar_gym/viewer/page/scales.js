// The values that color tokens: where each is found, its scale, and what it means.

const tokenValue = (name) => (tokens, place) => tokens[name]?.[place] ?? null;

const MEASURES = {
  gap: {
    label: "gap", unit: "nats", diverging: true, range: 2, value: tokenValue("gap"),
    about: "log p teacher − log p student: blue where the teacher, with its privileged context, finds the token likelier.",
  },
  gate: {
    label: "gate", unit: "", range: 1, value: tokenValue("gate"),
    about: "Weight of the distillation loss on this token.",
  },
  advantage: {
    label: "advantage", unit: "", diverging: true, value: tokenValue("token_advantage"),
    about: "The token's advantage in the loss: blue is reinforced, orange is discouraged.",
  },
  weight: {
    label: "loss weight", unit: "", value: tokenValue("weight"),
    about: "The token's share of the whole loss.",
  },
  entropy: {
    label: "entropy", unit: "nats", value: tokenValue("entropy"),
    about: "Entropy of the student's distribution.",
  },
  student: {
    label: "p student", unit: "", range: 1, value: (tokens, place) => probability(tokenValue("student_logp")(tokens, place)),
    about: "The student's probability of the token.",
  },
  teacher: {
    label: "p teacher", unit: "", range: 1, value: (tokens, place) => probability(tokenValue("teacher_logp")(tokens, place)),
    about: "The teacher's probability of the token.",
  },
  change: {
    label: "change by the update", unit: "nats", diverging: true, range: 1,
    value: (tokens, place) => (tokens.ratio?.[place] > 0 ? Math.log(tokens.ratio[place]) : null),
    about: "log p after the update − log p before it: blue became likelier.",
  },
  clip: {
    label: "clip", unit: "", diverging: true, range: 1,
    value: (tokens, place, recording) => clipped(tokens, place, recording),
    about: "Where the ratio after the update is outside the range of the clipped loss, on the side that the advantage pushes to: in another step it would have no policy gradient.",
  },
};

// 1 or -1 where the loss is clipped above or below, 0 where it is not; null where it is not known.
function clipped(tokens, place, recording) {
  const ratio = tokens.ratio?.[place], advantage = tokens.token_advantage?.[place], range = RECORDINGS[recording].clip;
  if (ratio === undefined || ratio === null || advantage === undefined || advantage === null || !range) return null;
  if (advantage > 0 && ratio > range[1]) return 1;
  if (advantage < 0 && ratio < range[0]) return -1;
  return 0;
}

// The largest size of a measure within episodes, for measures without a range of their own.
function rangeOf(measure, turns, recording) {
  if (measure.range) return measure.range;
  let largest = 0;
  for (const tokens of turns) {
    for (let place = 0; place < tokens.token.length; place++) {
      largest = Math.max(largest, Math.abs(measure.value(tokens, place, recording) ?? 0));
    }
  }
  return largest || 1;
}

// The background of a token. The share is not linear, so that small values are seen too.
function background(measure, value, range) {
  if (value === null || value === undefined) return "";
  const share = Math.min(1, Math.abs(value) / range) ** 0.7;
  const color = measure.diverging && value < 0 ? "var(--negative)" : "var(--positive)";
  return `background:color-mix(in srgb, ${color} ${(70 * share).toFixed(0)}%, transparent)`;
}

function Legend({ measure, range }) {
  const steps = measure.diverging ? [-1, -0.5, 0, 0.5, 1] : [0, 0.25, 0.5, 0.75, 1];
  return html`<span class="legend" title=${measure.about}>
    ${steps.map((step) => html`<span style=${background(measure, step * range, range)}>${signedIf(measure, step * range)}</span>`)}
    <span class="unit">${measure.unit}</span>
  </span>`;
}

const signedIf = (measure, value) => (measure.diverging ? signed(value, 2) : number(value, 2));
