// The table of methods: values or paired differences, each with its interval drawn on the column's scale; sorted on a click.
"use strict";

const WIDTH = 96;

function drawTable() {
  const columns = REPORT.columns.map((column, index) => ({ ...column, index, metric: METRICS.get(column.metric) }));
  const shown = columns.filter((column) => column.steps === null || column.steps === state.steps);
  const head = el("tr", {}, heading(null), shown.map(heading));
  const bodies = GROUPS.map((group) => body(group, shown));
  fill(byId("table-place"), el("table", { class: "methods" }, el("thead", {}, head), bodies));
  byId("table-legend").textContent = state.versus
    ? `Paired differences on the same prompts and noise: each method minus ${state.versus}, with 95% intervals; in parentheses the share ` +
      "of samples on which it is better. Coloured where the interval shows it to be better, hollow where it cannot tell."
    : "Mean and 95% interval; best in bold, second underlined. Click a heading to sort, a method to keep it in focus.";
}

function heading(column) {
  const key = column ? `${column.metric.key} ${column.steps}` : "";
  const active = state.sort === key && (key || !state.down);
  const sorted = active ? (state.down ? "descending" : "ascending") : "none";
  const title = column ? [el("span", { class: "name" }, column.metric.title), el("span", { class: "unit" }, under(column))] : ["Method"];
  const sort = () => {
    if (!column) update({ sort: "", down: state.sort !== "" || !state.down });
    else update({ sort: key, down: state.sort === key ? !state.down : true });
  };
  const button = el("button", { type: "button", onclick: sort, data: { key: `sort ${key}` } }, title);
  return el("th", { scope: "col", "aria-sort": sorted, class: column ? "number" : "label" }, button);
}

function under(column) {
  const { metric, steps } = column;
  const better = metric.direction === "higher" ? "↑" : "↓";
  return [metric.unit, steps === null ? "any steps" : `${steps} steps`].filter(Boolean).join(", ") + ` ${better}`;
}

/** What stands in a row's column: its value, or its difference to the reference. */
function entry(row, column) {
  return state.versus ? (row.versus[state.versus]?.[column.index] ?? null) : row.cells[column.index];
}

function sortedRows(group, shown) {
  const rows = rowsOf(group);
  const column = shown.find((column) => `${column.metric.key} ${column.steps}` === state.sort);
  if (!column) return state.down ? rows : rows.reverse();
  const level = (row) => (entry(row, column)?.value == null ? -Infinity : oriented(column.metric, entry(row, column).value));
  return rows.sort((a, b) => (state.down ? level(b) - level(a) : level(a) - level(b)) || 0);
}

function body(group, shown) {
  const scales = shown.map((column) => scale(column));
  const lines = sortedRows(group, shown).map((row) => {
    const focus = () => update({ focus: row.label, group });
    const name = el("button", { type: "button", onclick: focus, data: { key: `row ${group} ${row.label}` } }, row.label);
    const reference = row.label === state.versus;
    const cells = shown.map((column, place) =>
      (reference ? valueCell(row.cells[column.index], null) : valueCell(entry(row, column), scales[place], column)));
    const inFocus = row.label === state.focus && group === state.group;
    return el("tr", { class: inFocus ? "focus" : null }, el("th", { scope: "row" }, name), cells);
  });
  const section = el("tr", { class: "group" }, el("th", { colspan: shown.length + 1, scope: "rowgroup" }, group));
  return el("tbody", {}, GROUPS.length > 1 ? section : null, lines);
}

function valueCell(cell, place, column) {
  if (!cell || cell.value === null) return el("td", { class: "number" }, el("span", { class: "rest" }, "–"));
  const mark = state.versus ? null : { 1: "best", 2: "second" }[cell.rank];
  const number = el("span", { class: mark ? `value ${mark}` : "value" }, cell.text.replace(/^-/, "−"));
  const rest = el("span", { class: "rest" }, cell.rest.replaceAll("-", "−"));
  return el("td", { class: "number" }, el("span", { class: "line" }, number, " ", rest), place ? whisker(cell, place, column) : null);
}

/** Lowest and highest bound of a column over all groups; around zero for differences. */
function scale(column) {
  const cells = REPORT.rows.map((row) => entry(row, column)).filter((cell) => cell && cell.value !== null);
  const bounds = cells.flatMap((cell) => [cell.low ?? cell.value, cell.high ?? cell.value]);
  if (!bounds.length) return null;
  if (state.versus) {
    const most = Math.max(...bounds.map(Math.abs)) || 1;
    return (value) => 4 + ((value + most) / (2 * most)) * (WIDTH - 8);
  }
  const low = Math.min(...bounds), high = Math.max(...bounds);
  return (value) => (high === low ? WIDTH / 2 : 4 + ((value - low) / (high - low)) * (WIDTH - 8));
}

/** What the interval of a difference says. */
function evidence(gap, metric) {
  if (gap.low === null || (gap.low <= 0 && gap.high >= 0)) return "unclear";
  return oriented(metric, gap.value) > 0 ? "better" : "worse";
}

function whisker(cell, place, column) {
  const x = (value) => place(value).toFixed(1);
  const kind = state.versus ? evidence(cell, column.metric) : "";
  return svg("svg", { class: `whisker ${kind}`, viewBox: `0 0 ${WIDTH} 10`, width: WIDTH, height: 10, "aria-hidden": "true" },
    state.versus ? svg("line", { class: "zero", x1: x(0), x2: x(0), y1: 0, y2: 10 }) : null,
    cell.low === null ? null : svg("line", { class: "bar", x1: x(cell.low), x2: x(cell.high), y1: 5, y2: 5 }),
    svg("circle", { cx: x(cell.value), cy: 5, r: 2.75 }));
}
