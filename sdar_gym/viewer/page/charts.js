// Curves by uPlot: each run a line, with its interval as a band where it has one.

const PALETTE = ["--run-0", "--run-1"];

// uPlot draws on a canvas, which knows no CSS variables.
function resolved(variable) {
  const probe = document.createElement("span");
  probe.style.color = `var(${variable})`;
  document.body.append(probe);
  const color = getComputedStyle(probe).color;
  probe.remove();
  return color;
}

const translucent = (color, share) => color.replace(/rgba?\(([^)]*)\)/, (_, inner) => `rgba(${inner.split(",").slice(0, 3).join(",")}, ${share})`);

// Lines with different updates, on one axis of all of them.
function aligned(lines) {
  const updates = [...new Set(lines.flatMap((line) => line.x))].sort((a, b) => a - b);
  const place = new Map(updates.map((update, at) => [update, at]));
  const columns = lines.map((line) => {
    const values = new Array(updates.length).fill(null);
    line.x.forEach((update, at) => { values[place.get(update)] = line.y[at]; });
    return values;
  });
  return [updates, ...columns];
}

// lines: [{label, x, y, color, dash, width, points, hidden}], bands: [[number of the upper line, of the lower, color]].
function Chart({ title, lines, bands = [], range, height = 220, theme }) {
  const place = useRef(null);
  useEffect(() => {
    const axis = { stroke: resolved("--quiet"), grid: { stroke: resolved("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
    const options = {
      width: place.current.clientWidth,
      height,
      scales: { x: { time: false }, y: range ? { range } : {} },
      axes: [{ ...axis, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000, 10000] }, { ...axis, size: 48, values: (_, values) => values.map((value) => number(value, 2)) }],
      legend: { live: true },
      series: [
        { label: "update" },
        ...lines.map((line) => ({
          label: line.label,
          stroke: line.hidden ? "transparent" : resolved(line.color),
          width: line.width || 2,
          dash: line.dash,
          points: { show: !line.hidden && (line.points ?? true), size: 5, fill: line.hidden ? undefined : resolved(line.color) },
          spanGaps: true,
          value: (_, value) => number(value),
        })),
      ],
      bands: bands.map(([upper, lower, color]) => ({ series: [upper + 1, lower + 1], fill: translucent(resolved(color), 0.18) })),
    };
    const plot = new uPlot(options, aligned(lines), place.current);
    const rows = plot.root.querySelectorAll(".u-series");
    lines.forEach((line, at) => { if (line.hidden) rows[at + 1].style.display = "none"; });
    const observer = new ResizeObserver(() => plot.setSize({ width: place.current.clientWidth, height }));
    observer.observe(place.current);
    return () => { observer.disconnect(); plot.destroy(); };
  }, [lines, theme, height]);
  return html`<figure class="chart"><figcaption>${title}</figcaption><div ref=${place}></div></figure>`;
}
