// One sample, large: the image of each method in the same place, its whole row, its attention maps.
"use strict";

const view = { sample: null, label: "", zoom: 1 };

function openViewer(sample, label) {
  Object.assign(view, { sample, label, zoom: 1 });
  drawViewer();
  if (!byId("viewer").open) byId("viewer").showModal();
  byId("viewer").querySelector("[aria-current=true]")?.focus();
}

function viewerRows() {
  return rowsOf(state.group).filter((row) => cellOf(row, state.steps));
}

function drawViewer() {
  const rows = viewerRows();
  const row = rows.find((row) => row.label === view.label) ?? rows[0];
  const cell = cellOf(row, state.steps);
  const close = el("button", { type: "button", class: "close", "aria-label": "Close", data: { key: "close" }, onclick: () => byId("viewer").close() }, "×");
  fill(byId("viewer"),
    el("header", {}, el("h2", { id: "viewer-title" }, REPORT.samples.prompt[view.sample] ?? ""), close),
    el("div", { class: "both" },
      el("div", { class: "left" }, stage(row, cell), filmstrip(rows), maps(cell)),
      el("div", { class: "facts" }, comparison(rows), el("h3", {}, `Row of ${row.label}`), facts(cell))));
}

function stage(row, cell) {
  const image = imageOf(cell, view.sample);
  const error = cell.own.error?.[view.sample];
  const inside = image
    ? el("img", { src: image.full, alt: `${row.label}: ${REPORT.samples.prompt[view.sample] ?? ""}`, class: pixels(), id: "large", onclick: () => zoom(view.zoom > 1 ? 1 : 3) })
    : el("p", { class: "quiet" }, error || "There is no image of this sample in the results.");
  const tools = el("div", { class: "zoom" },
    el("span", { class: "name" }, `${row.label}, ${state.steps} steps`),
    ["−", "+"].map((sign) => el("button", {
      type: "button", "aria-label": sign === "+" ? "Larger" : "Smaller", data: { key: `zoom ${sign}` },
      onclick: () => zoom(view.zoom * (sign === "+" ? 1.5 : 1 / 1.5)),
    }, sign)));
  const frame = el("div", { class: "frame", tabindex: "0", role: "region", "aria-label": "Image", data: { key: "frame" } }, inside);
  if (image) inside.style.setProperty("--zoom", view.zoom);
  return el("div", { class: "stage" }, tools, frame);
}

/** Larger or smaller, around the middle of what is seen. */
function zoom(factor) {
  const grown = Math.min(8, Math.max(1, factor)) / view.zoom;
  view.zoom *= grown;
  const image = byId("large");
  if (!image) return;
  const frame = image.parentElement;
  const middle = [frame.scrollLeft + frame.clientWidth / 2, frame.scrollTop + frame.clientHeight / 2];
  image.style.setProperty("--zoom", view.zoom);
  frame.scrollTo(middle[0] * grown - frame.clientWidth / 2, middle[1] * grown - frame.clientHeight / 2);
}

function filmstrip(rows) {
  return el("div", { class: "film", role: "group", "aria-label": "Methods" }, rows.map((row) => {
    const image = imageOf(cellOf(row, state.steps), view.sample);
    const current = row.label === view.label;
    return el("button", {
      type: "button", "aria-current": String(current), "aria-label": row.label, title: row.label, data: { key: `film ${row.label}` },
      onclick: () => turn(row.label),
    }, image ? el("img", { src: image.thumb, alt: "", class: pixels() }) : el("span", { class: "none" }, "–"));
  }));
}

function maps(cell) {
  const urls = cell.images.maps[view.sample];
  if (!urls?.length) return null;
  const name = (url) => decodeURIComponent(url.split("/").pop()).replace(/\.[^.]*$/, "").replace(/^[^-_.]*[-_.]?/, "") || "all models";
  return el("div", { class: "maps" }, el("h3", {}, "Attention maps"), el("div", { class: "tiles" },
    urls.map((url) => el("figure", {}, el("img", { src: url, alt: `Attention map ${name(url)}`, loading: "lazy" }), el("figcaption", {}, name(url))))));
}

/** Every method's values for this sample. */
function comparison(rows) {
  const metrics = sampleMetrics(state.group);
  const heads = metrics.map((metric) => el("th", { scope: "col", class: "number" }, `${metric.title} ${metric.direction === "higher" ? "↑" : "↓"}`));
  const lines = rows.map((row) => {
    const cells = metrics.map((metric) => el("td", { class: "number" }, short(valueOf(row, state.steps, metric.key, view.sample), metric.digits)));
    return el("tr", { class: row.label === view.label ? "focus" : null, onclick: () => turn(row.label) }, el("th", { scope: "row" }, row.label), cells);
  });
  return el("table", { class: "plain" }, el("thead", {}, el("tr", {}, el("th", {}, "Method"), heads)), el("tbody", {}, lines));
}

/** The row of samples.parquet, as it is. */
function facts(cell) {
  const shared = Object.entries(REPORT.samples).map(([name, column]) => [name, column[view.sample]]);
  const own = Object.entries({ file: REPORT.names[cell.names], ...cell.own, ...cell.values }).map(([name, column]) => [name, column?.[view.sample]]);
  const known = [...shared, ["steps", cell.steps], ...own].filter(([, value]) => value !== null && value !== undefined && value !== "");
  return el("dl", { class: "row" }, known.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, String(value))]));
}

function turn(label) {
  view.label = label;
  drawViewer();
  byId("viewer").querySelector("[aria-current=true]")?.focus();
}

/** Left and right: another method. Up and down: another sample. Plus, minus: larger, smaller. */
function viewerKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const scrolling = view.zoom > 1 && document.activeElement?.dataset.key === "frame";
  const rows = viewerRows();
  const place = rows.findIndex((row) => row.label === view.label);
  const at = found.indexOf(view.sample);
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -1, ArrowDown: 1 }[event.key];
  if (step && !scrolling) {
    event.preventDefault();
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") turn(rows[(place + step + rows.length) % rows.length].label);
    else if (found[at + step] !== undefined) { view.sample = found[at + step]; turn(view.label); }
  } else if (event.key === "+" || event.key === "=") zoom(view.zoom * 1.5);
  else if (event.key === "-") zoom(view.zoom / 1.5);
}
