// Pictures: the lines of returns and of the state, on the page and in the exported file.
const NS = "http://www.w3.org/2000/svg";

export function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** The colours of the page as it looks now. */
export function palette() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(`--${name}`).trim();
  return { back: of("back"), text: of("text"), soft: of("soft"), line: of("line"), accent: of("accent"), lines: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map((k) => of(`c${k}`)) };
}

export function number(x) {
  const digits = Math.abs(x) >= 1000 ? 0 : 2;
  return (Math.abs(x) < 0.005 ? 0 : x).toFixed(digits).replace("-", "−");
}

/** Round numbers from low to high, about four of them. */
function ticks(low, high) {
  const raw = (high - low) / 3, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((k) => k * power).find((k) => k >= raw * 0.999);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high * (1 + 1e-9) + 1e-9; k++) found.push(k * step);
  return found;
}

const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif';

/** Cumulative returns over steps: [{values, colour, strong}] -> svg. */
export function returnsChart(lines, { width = 360, height = 210, colours = palette() } = {}) {
  const left = 40, right = 8, top = 8, bottom = 26;
  const steps = Math.max(10, ...lines.map((line) => line.values.length - 1));
  const all = lines.flatMap((line) => line.values);
  const low = Math.min(0, ...all), high = Math.max(1, ...all);
  const x = (t) => left + (t / steps) * (width - left - right);
  const y = (v) => top + (1 - (v - low) / (high - low)) * (height - top - bottom);
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "font-family": FONT, "font-size": 11 });
  for (const v of ticks(low, high)) {
    root.append(svg("line", { x1: left, x2: width - right, y1: y(v), y2: y(v), stroke: colours.line }));
    root.append(svg("text", { x: left - 6, y: y(v) + 4, "text-anchor": "end", fill: colours.soft }, number(v).replace(/\.00$/, "")));
  }
  for (const t of ticks(0, steps)) root.append(svg("text", { x: x(t), y: height - 10, "text-anchor": t > 0.93 * steps ? "end" : "middle", fill: colours.soft }, t ? String(t) : "step 0"));
  for (const line of [...lines].sort((a, b) => (a.strong ? 1 : 0) - (b.strong ? 1 : 0))) {
    const points = line.values.map((v, t) => `${x(t).toFixed(1)},${y(v).toFixed(1)}`).join(" ");
    root.append(svg("polyline", { points, fill: "none", stroke: line.colour, "stroke-width": line.strong ? 2.6 : 1.4, "stroke-linejoin": "round" }));
    const last = line.values.length - 1;
    root.append(svg("circle", { cx: x(last), cy: y(line.values[last]), r: line.strong ? 3.4 : 2, fill: line.colour }));
  }
  return root;
}

/** One quantity of the state over steps. */
export function seriesChart(series, { width = 170, height = 54, colours = palette() } = {}) {
  const n = Math.max(series.values.length - 1, 1), span = series.high - series.low || 1;
  const x = (t) => 2 + (t / n) * (width - 8), y = (v) => 4 + (1 - (v - series.low) / span) * (height - 8);
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  for (const v of [series.low, series.high]) root.append(svg("line", { x1: 0, x2: width, y1: y(v), y2: y(v), stroke: colours.line }));
  if (series.low < 0 && series.high > 0) root.append(svg("line", { x1: 0, x2: width, y1: y(0), y2: y(0), stroke: colours.line, "stroke-dasharray": "2 3" }));
  const points = series.values.map((v, t) => `${x(t).toFixed(1)},${y(v).toFixed(1)}`).join(" ");
  root.append(svg("polyline", { points, fill: "none", stroke: colours.accent, "stroke-width": 1.8, "stroke-linejoin": "round" }));
  const last = series.values.length - 1;
  root.append(svg("circle", { cx: x(last), cy: y(series.values[last]), r: 2.6, fill: colours.accent }));
  return root;
}

/** The whole session as one picture, in the colours of the page. */
export function sessionPicture(title, lines, series, names) {
  const colours = palette(), width = 900, row = 96, rows = Math.ceil(series.length / 3), height = 330 + Math.max(names.length * 18 - 230, 0) + rows * row;
  const root = svg("svg", { xmlns: NS, viewBox: `0 0 ${width} ${height}`, width, height, "font-family": FONT, "font-size": 13, fill: colours.text });
  root.append(svg("rect", { width, height, fill: colours.back }));
  root.append(svg("text", { x: 24, y: 36, "font-size": 19, "font-weight": 600, fill: colours.text }, title[0]));
  root.append(svg("text", { x: 24, y: 58, fill: colours.soft }, title[1]));
  const place = (chart, x, y, w, h) => { chart.setAttribute("x", x); chart.setAttribute("y", y); chart.setAttribute("width", w); chart.setAttribute("height", h); root.append(chart); };
  place(returnsChart(lines, { width: 600, height: 240, colours }), 16, 72, 600, 240);
  names.forEach(({ text, value, colour, strong }, k) => {
    root.append(svg("rect", { x: 640, y: 84 + 18 * k, width: 14, height: 3, fill: colour }));
    root.append(svg("text", { x: 662, y: 90 + 18 * k, "font-weight": strong ? 600 : 400, fill: colours.text }, text));
    root.append(svg("text", { x: 876, y: 90 + 18 * k, "text-anchor": "end", "font-weight": strong ? 600 : 400, fill: colours.text }, value));
  });
  series.forEach((one, k) => {
    const x = 24 + (k % 3) * 290, y = height - rows * row + Math.floor(k / 3) * row;
    root.append(svg("text", { x, y, fill: colours.soft }, one.name));
    root.append(svg("text", { x: x + 262, y, "text-anchor": "end", "font-weight": 600, fill: colours.text }, number(one.values.at(-1))));
    place(seriesChart(one, { width: 262, height: 60, colours }), x, y + 6, 262, 60);
  });
  return root;
}
