// What the report holds (REPORT, from data.js), what is chosen on the page (state), and the way from one to the other.
"use strict";

const METRICS = new Map(REPORT.metrics.map((metric) => [metric.key, metric]));
const GROUPS = [...new Set(REPORT.rows.map((row) => row.group))];
const STEPS = [...new Set(REPORT.cells.map((cell) => cell.steps).filter((steps) => steps !== null))].sort((a, b) => a - b);
const CATEGORIES = [...new Set(REPORT.samples.category ?? [])].filter(Boolean).sort();
const PLACES = new Map(REPORT.cells.map((cell, index) => [`${cell.row} ${cell.steps}`, index]));
const MISSING = new Map(REPORT.cells.map((cell) => [cell, new Set(cell.images.missing)]));
const PAGE = 24;

/** Where a number stands on the way from worse to better. */
function oriented(metric, value) {
  return metric.direction === "higher" ? value : -value;
}

function rowsOf(group) {
  return REPORT.rows.filter((row) => row.group === group);
}

/** The cell of a row at so many steps (null: without sampling), if it was run. */
function cellOf(row, steps) {
  const index = PLACES.get(`${REPORT.rows.indexOf(row)} ${steps}`);
  return index === undefined ? null : REPORT.cells[index];
}

/** A row's value of a metric for one sample: from its cell at these steps, or from the one without sampling. */
function valueOf(row, steps, metric, sample) {
  for (const cell of [cellOf(row, steps), cellOf(row, null)]) {
    const column = cell?.values[metric];
    if (column) return column[sample];
  }
  return null;
}

function imageName(cell, sample) {
  return REPORT.names[cell.names][sample] ?? null;
}

/** Whether a cell has a row for a sample. */
function hasSample(cell, sample) {
  const known = (column) => column?.[sample] !== null && column?.[sample] !== undefined;
  return imageName(cell, sample) !== null || Object.values(cell.own).some(known) || Object.values(cell.values).some(known);
}

/** URLs of a sample's image and of its thumbnail; null where there is no image. */
function imageOf(cell, sample) {
  const name = cell && imageName(cell, sample);
  if (!name || MISSING.get(cell).has(sample)) return null;
  const { full, thumbs } = cell.images;
  const small = thumbs ? thumbs + encodeURIComponent(name.replace(/\.[^.]*$/, "")) + ".webp" : null;
  const large = full ? full + encodeURIComponent(name) : null;
  return large || small ? { full: large ?? small, thumb: small ?? large } : null;
}

/** The metrics that have a value a sample, for a group. */
function sampleMetrics(group) {
  const rows = new Set(rowsOf(group).map((row) => REPORT.rows.indexOf(row)));
  const cells = REPORT.cells.filter((cell) => rows.has(cell.row));
  return REPORT.metrics.filter((metric) => metric.kind === "per-sample" && cells.some((cell) => cell.values[metric.key]));
}

/** The row to look at first: the one that is best most often. */
function leader(group) {
  const wins = (row) => row.cells.filter((cell) => cell.rank === 1).length;
  return [...rowsOf(group)].sort((a, b) => wins(b) - wins(a))[0].label;
}

const DEFAULTS = {
  group: GROUPS[0], steps: STEPS.length ? STEPS[STEPS.length - 1] : null, versus: "", sort: "", down: true,
  focus: "", category: "", text: "", order: "suite", ours: "", theirs: "", metric: "", page: 0,
};
const state = { ...DEFAULTS };

/** Replace what does not exist (in this group) by what does. */
function repair() {
  if (!GROUPS.includes(state.group)) state.group = DEFAULTS.group;
  if (!STEPS.includes(state.steps)) state.steps = DEFAULTS.steps;
  const labels = rowsOf(state.group).map((row) => row.label);
  const all = REPORT.rows.map((row) => row.label);
  if (!labels.includes(state.focus)) state.focus = leader(state.group);
  if (!all.includes(state.versus)) state.versus = "";
  if (!labels.includes(state.ours)) state.ours = state.focus;
  if (!labels.includes(state.theirs)) state.theirs = labels.find((label) => label !== state.ours) ?? state.ours;
  const metrics = sampleMetrics(state.group).map((metric) => metric.key);
  const sampled = metrics.find((key) => rowsOf(state.group).some((row) => cellOf(row, state.steps)?.values[key]));
  if (!metrics.includes(state.metric)) state.metric = sampled ?? metrics[0] ?? "";
  if (!CATEGORIES.includes(state.category)) state.category = "";
}

/** The part of the address behind #: the section, and what was chosen, so that a view can be passed on. */
function readAddress() {
  const [section, query] = location.hash.slice(1).split("?");
  for (const [key, value] of new URLSearchParams(query ?? "")) {
    if (!(key in DEFAULTS)) continue;
    if (key === "steps" || key === "page") state[key] = Number(value) || DEFAULTS[key];
    else state[key] = key === "down" ? value !== "false" : value;
  }
  return section;
}

function writeAddress() {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(state)) {
    if (value !== DEFAULTS[key] && value !== null) query.set(key, value);
  }
  const section = location.hash.slice(1).split("?")[0];
  history.replaceState(null, "", `#${section}${query.size ? `?${query}` : ""}`);
}

/** The samples of the group at these steps that pass the filters, in the order asked for. */
function chosenSamples() {
  const { prompt, category, sample_id: ids } = REPORT.samples;
  const cells = rowsOf(state.group).map((row) => cellOf(row, state.steps)).filter(Boolean);
  const text = state.text.toLowerCase();
  const found = [];
  for (let sample = 0; sample < ids.length; sample++) {
    if (state.category && category[sample] !== state.category) continue;
    if (text && !(prompt[sample] ?? "").toLowerCase().includes(text)) continue;
    if (cells.some((cell) => hasSample(cell, sample))) found.push(sample);
  }
  if (state.order === "suite") return found;
  const score = new Map(found.map((sample) => [sample, scoreOf(sample)]));
  const sign = state.order === "gain" || state.order === "best" ? -1 : 1;
  const known = found.filter((sample) => score.get(sample) !== null);
  return known.sort((a, b) => sign * (score.get(a) - score.get(b)) || a - b);
}

/** What samples are ordered by, positive being better; null where a value is missing. */
function scoreOf(sample) {
  const rows = rowsOf(state.group);
  const value = (label) => valueOf(rows.find((row) => row.label === label), state.steps, state.metric, sample) ?? null;
  const ours = value(state.ours);
  const base = state.order === "best" || state.order === "worst" ? 0 : value(state.theirs);
  return ours === null || base === null ? null : oriented(METRICS.get(state.metric), ours - base);
}
