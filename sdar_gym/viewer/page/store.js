// The page's data: the index, and episodes that are decoded from their chunk when they are looked at.

const INDEX = JSON.parse(document.getElementById("index").textContent);
const RECORDINGS = INDEX.recordings;
const TYPES = INDEX.types;
const NAMES = Object.fromEntries(INDEX.columns.map((name, place) => [name, place]));

// One row of the index as an object; made when needed, since there may be tens of thousands.
class Row {
  constructor(values, number) {
    this.values = values;
    this.number = number;
  }
  get recording() { return this.values[NAMES.recording]; }
  get batch() { return RECORDINGS[this.recording].batches[this.values[NAMES.batch]]; }
  get episode() { return this.values[NAMES.episode]; }
  get group() { return this.values[NAMES.group]; }
  get task() { return this.values[NAMES.task]; }
  get type() { return TYPES[this.values[NAMES.type]]; }
  get goal() { return this.values[NAMES.goal]; }
  get won() { return this.values[NAMES.won] === 1; }
  get reward() { return this.values[NAMES.reward]; }
  get turns() { return this.values[NAMES.turns]; }
  get ended() { return this.values[NAMES.ended]; }
  get invalid() { return this.values[NAMES.invalid]; }
  get tokens() { return this.values[NAMES.tokens] === 1; }
  get gap() { return this.values[NAMES.gap]; }
  get gate() { return this.values[NAMES.gate]; }
  get entropy() { return this.values[NAMES.entropy]; }
  get chunk() { return this.values[NAMES.chunk]; }
  get place() { return this.values[NAMES.place]; }
  get kind() { return this.batch.startsWith("train") ? "training" : "evaluation"; }
  get update() { return Number(this.batch.split("-")[1] || 0); }
  get path() { return `/episode/${this.recording}/${this.batch}/${this.episode}`; }
  get groupPath() { return `/group/${this.recording}/${this.batch}/${this.group}`; }
}

const ROWS = INDEX.rows.map((values, number) => new Row(values, number));
const findRow = (recording, batch, episode) =>
  ROWS.find((row) => row.recording === recording && row.batch === batch && row.episode === episode);
const membersOf = (recording, batch, group) =>
  ROWS.filter((row) => row.recording === recording && row.batch === batch && row.group === group);

const decoded = new Map();
const awaited = new Map();

// Chunks beside the page are scripts, which open from a file where other requests do not. They call this.
window.sdarChunk = (number, text) => awaited.get(number)?.(text);

function chunkText(number) {
  const inline = document.getElementById(`chunk-${number}`);
  if (inline) return Promise.resolve(inline.textContent);
  return new Promise((resolve, reject) => {
    awaited.set(number, resolve);
    const script = document.createElement("script");
    script.src = `${INDEX.folder}/chunk-${String(number).padStart(5, "0")}.js`;
    script.onerror = () => reject(new Error(`${script.src} is missing: copy the folder ${INDEX.folder} along with the page.`));
    document.head.append(script);
  });
}

async function decode(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

// The newest few chunks are kept: neighbors in the list are mostly in the same one.
const KEPT = 12;

function loadChunk(number) {
  if (!decoded.has(number)) {
    decoded.set(number, chunkText(number).then(decode));
    if (decoded.size > KEPT) decoded.delete(decoded.keys().next().value);
  }
  return decoded.get(number);
}

const loadEpisode = async (row) => (await loadChunk(row.chunk))[row.place];

// Episodes of rows; null until they are decoded, an Error if they cannot be.
function useEpisodes(rows) {
  const key = rows.map((row) => row.number).join();
  const [state, setState] = useState({ key: null, episodes: null });
  useEffect(() => {
    let current = true;
    Promise.all(rows.map(loadEpisode)).then(
      (episodes) => current && setState({ key, episodes }),
      (error) => current && setState({ key, episodes: error }),
    );
    return () => { current = false; };
  }, [key]);
  return state.key === key ? state.episodes : null;
}
