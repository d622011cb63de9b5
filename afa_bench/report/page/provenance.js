// Where the numbers come from: the notes of the table, metrics with their weights, and each cell's identity.
"use strict";

function drawProvenance() {
  fill(byId("provenance-place"),
    el("ul", { class: "notes" }, REPORT.notes.map((note) => el("li", {}, note))),
    fold(`Metrics (${REPORT.metrics.length})`, metricTable()),
    fold(`Cells (${REPORT.cells.length})`, cellTable()),
    fold("Identity that all cells share", el("pre", {}, JSON.stringify(REPORT.shared, null, 1))));
}

function fold(title, ...children) {
  return el("details", {}, el("summary", {}, title), el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title }, children));
}

function metricTable() {
  const lines = REPORT.metrics.map((metric) => el("tr", {},
    el("th", { scope: "row" }, metric.title), el("td", {}, el("code", {}, metric.key)), el("td", {}, metric.version),
    el("td", {}, Object.entries(metric.weights).map(([name, sha256]) => el("div", {}, `${name} `, el("code", {}, sha256)))),
    el("td", {}, metric.remarks.join("; "))));
  return plainTable(["Metric", "Key", "Version", "Weights (sha256)", "Remarks"], lines);
}

function cellTable() {
  const lines = REPORT.cells.map((cell) => {
    const row = REPORT.rows[cell.row];
    const origin = cell.provenance ?? {};
    const versions = cell.made_with.map((part) => Object.entries(part).map(([name, version]) => `${name} ${version ?? "–"}`).join(", ")).join("; ");
    const host = typeof origin.host === "object" ? Object.values(origin.host ?? {}).join(", ") : String(origin.host ?? "");
    return el("tr", {},
      el("th", { scope: "row" }, `${row.group}: ${row.label}`), el("td", {}, cell.steps === null ? cell.task : `${cell.steps} steps`),
      el("td", { class: "number" }, String(cell.samples ?? "–")), el("td", { class: "number" }, String(cell.failed ?? "–")),
      el("td", {}, el("code", { title: cell.fingerprint }, cell.fingerprint.slice(0, 12))),
      el("td", {}, el("code", {}, origin.git ?? "–")), el("td", {}, host),
      el("td", {}, el("details", {}, el("summary", {}, "identity"), el("p", { class: "quiet" }, versions), el("pre", {}, JSON.stringify(cell.identity, null, 1)))));
  });
  return plainTable(["Cell", "", "Samples", "Failed", "Fingerprint", "Revision", "Host", ""], lines);
}

function plainTable(heads, lines) {
  return el("table", { class: "plain" }, el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))), el("tbody", {}, lines));
}
