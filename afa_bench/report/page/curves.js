// Metric against sampling steps: a panel a metric, a line a method, intervals as whiskers; the method in focus in colour.
"use strict";

const PANEL = { width: 420, height: 250, left: 52, right: 104, top: 14, bottom: 30 };

function curveMetrics() {
  const counted = (metric) => REPORT.columns.filter((column) => column.metric === metric.key && column.steps !== null).length;
  return REPORT.metrics.filter((metric) => counted(metric) > 1);
}

function drawCurves() {
  const metrics = curveMetrics();
  byId("curves").hidden = byId("to-curves").hidden = !metrics.length;
  if (!metrics.length) return;
  const rows = rowsOf(state.group);
  fill(byId("curves-rows"), rows.map((row) => el("button", {
    type: "button", "aria-pressed": String(row.label === state.focus), data: { key: row.label },
    onclick: () => update({ focus: row.label }),
  }, row.label)));
  fill(byId("curves-place"), metrics.map((metric) => panel(metric, rows)).filter(Boolean));
}

/** The points of a row: [{steps, value, low, high, n, of, text, rest}]; hollow are those over fewer samples than planned. */
function curve(row, metric) {
  return REPORT.columns.flatMap((column, index) => {
    const cell = row.cells[index];
    return column.metric === metric.key && column.steps !== null && cell.value !== null ? [{ ...cell, steps: column.steps }] : [];
  }).sort((a, b) => a.steps - b.steps);
}

function panel(metric, rows) {
  const lines = rows.map((row) => ({ row, points: curve(row, metric) })).filter((line) => line.points.length);
  const points = lines.flatMap((line) => line.points);
  if (!points.length) return null;
  const steps = [...new Set(points.map((point) => point.steps))].sort((a, b) => a - b);
  const ticks = niceTicks(Math.min(...points.map((p) => p.low ?? p.value)), Math.max(...points.map((p) => p.high ?? p.value)));
  const { width, height, left, right, top, bottom } = PANEL;
  const x = (value) => left + 14 + ((value - steps[0]) / (steps[steps.length - 1] - steps[0] || 1)) * (width - left - right - 28);
  const y = (value) => height - bottom - ((value - ticks[0]) / (ticks[ticks.length - 1] - ticks[0] || 1)) * (height - top - bottom);
  const readout = el("p", { class: "readout quiet" }, hint(lines, steps));
  const focusLast = [...lines].sort((a, b) => (a.row.label === state.focus) - (b.row.label === state.focus));
  const guide = svg("line", { class: "guide", y1: top, y2: height - bottom, x1: -9, x2: -9 });
  const places = labelPlaces(lines, y);
  const graph = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${metric.title} against steps, see the table for the numbers` },
    ticks.map((tick) => [
      svg("line", { class: "rule", x1: left, x2: width - right, y1: y(tick), y2: y(tick) }),
      svg("text", { x: left - 8, y: y(tick) + 4, "text-anchor": "end" }, tickText(tick, ticks)),
    ]).flat(),
    steps.map((count) => svg("text", { x: x(count), y: height - 10, "text-anchor": "middle" }, String(count))),
    guide,
    focusLast.map((line) => drawn(line.row, line.points, x, y, places, lines.indexOf(line) - (lines.length - 1) / 2)));
  graph.addEventListener("pointermove", (event) => {
    const box = graph.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * width;
    const nearest = steps.reduce((best, count) => (Math.abs(x(count) - at) < Math.abs(x(best) - at) ? count : best));
    guide.setAttribute("x1", x(nearest));
    guide.setAttribute("x2", x(nearest));
    fill(readout, ...reading(lines, nearest, metric));
  });
  graph.addEventListener("pointerleave", () => {
    guide.setAttribute("x1", -9);
    guide.setAttribute("x2", -9);
    readout.textContent = hint(lines, steps);
  });
  const better = metric.direction === "higher" ? "↑" : "↓";
  return el("figure", {}, el("figcaption", {}, metric.title, " ", el("span", { class: "unit" }, `${metric.unit} ${better}`)), graph, readout);
}

/** The value of the method in focus at the most steps: what is read when nothing is pointed at. */
function hint(lines, steps) {
  const line = lines.find((line) => line.row.label === state.focus) ?? lines[0];
  const point = line.points[line.points.length - 1];
  return `${line.row.label}, ${point.steps} steps: ${point.text} ${point.rest}`;
}

/** All methods at these steps, best first. */
function reading(lines, steps, metric) {
  const found = lines.flatMap(({ row, points }) => points.filter((point) => point.steps === steps).map((point) => ({ row, point })));
  found.sort((a, b) => oriented(metric, b.point.value) - oriented(metric, a.point.value));
  return [el("span", {}, `${steps} steps: `), ...found.map(({ row, point }, index) =>
    el("span", { class: row.label === state.focus ? "inked" : null }, `${index ? ", " : ""}${row.label} ${point.text}${point.of === null ? "" : ` (n=${point.n} of ${point.of})`}`))];
}

function drawn(row, points, x, y, places, shift) {
  const inFocus = row.label === state.focus;
  const at = (point) => (x(point.steps) + shift * 2.5).toFixed(1); // side by side, so that no interval hides another
  const path = points.map((point, index) => `${index ? "L" : "M"}${at(point)},${y(point.value).toFixed(1)}`).join("");
  const bars = points.filter((point) => point.low !== null).map((point) => svg("line", {
    class: "bar", x1: at(point), x2: at(point), y1: y(point.low), y2: y(point.high),
  }));
  const dots = points.map((point) => svg("circle", {
    class: point.of === null ? null : "partial", cx: at(point), cy: y(point.value), r: inFocus ? 3.25 : 2.25,
  }));
  const label = svg("text", { class: "name", x: PANEL.width - PANEL.right + 6, y: places.get(row.label) + 4 }, clipped(row.label, 15));
  return svg("g", { class: inFocus ? "curve focus" : "curve", onclick: () => update({ focus: row.label }) },
    svg("path", { class: "wide", d: path }), svg("path", { d: path }), bars, dots, label);
}

function clipped(text, most) {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}

/** Where the lines' names stand: at the last point's height, pushed apart so that none covers another. */
function labelPlaces(lines, y) {
  const gap = 13;
  const wanted = lines.map(({ row, points }) => ({ label: row.label, at: y(points[points.length - 1].value) })).sort((a, b) => a.at - b.at);
  for (let index = 1; index < wanted.length; index++) wanted[index].at = Math.max(wanted[index].at, wanted[index - 1].at + gap);
  let limit = PANEL.height - 6;
  for (let index = wanted.length - 1; index >= 0; index--, limit -= gap) wanted[index].at = limit = Math.min(wanted[index].at, limit);
  return new Map(wanted.map(({ label, at }) => [label, at]));
}

/** Round numbers that cover [low, high], four to seven of them. */
function niceTicks(low, high) {
  const rough = (high - low || Math.abs(high) || 1) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const ticks = [];
  for (let count = Math.floor(low / step); count <= Math.ceil(high / step); count++) ticks.push(count * step);
  return ticks;
}

function tickText(tick, ticks) {
  const step = String(Number((ticks[1] - ticks[0]).toPrecision(6)));
  return tick.toFixed((step.split(".")[1] ?? "").length).replace("-", "−");
}
