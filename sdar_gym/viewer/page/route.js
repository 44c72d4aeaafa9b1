// The address: every state of the page is in its hash, so that it can be sent as a link and survives a reload.

// A link that was cut in the middle of an escape is read as it is.
function unescaped(part) {
  try { return decodeURIComponent(part); } catch { return part; }
}

function readRoute() {
  const [path, query] = location.hash.slice(1).split("?");
  return {
    parts: path.split("/").filter(Boolean).map(unescaped),
    parameters: Object.fromEntries(new URLSearchParams(query || "")),
  };
}

function address(path, parameters = {}) {
  const kept = Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const query = new URLSearchParams(kept).toString();
  return `#${path.split("/").map(encodeURIComponent).join("/")}${query ? `?${query}` : ""}`;
}

const go = (path, parameters) => { location.hash = address(path, parameters); };

// Changes parameters of the current address without a new entry in the history.
function setParameters(changes) {
  const { parts, parameters } = readRoute();
  history.replaceState(null, "", address(`/${parts.join("/")}`, { ...parameters, ...changes }));
  window.dispatchEvent(new HashChangeEvent("hashchange"));
}

function useRoute() {
  const [route, setRoute] = useState(readRoute());
  useEffect(() => {
    const changed = () => setRoute(readRoute());
    window.addEventListener("hashchange", changed);
    return () => window.removeEventListener("hashchange", changed);
  }, []);
  return route;
}

// The filters of the list, which stay in the address while one of its episodes is open.
const FILTERS = ["q", "recording", "kind", "update", "type", "outcome", "sort"];
const filtersOf = (parameters) => Object.fromEntries(FILTERS.map((name) => [name, parameters[name]]));
