// Samples by methods: what each method made of the same prompt and the same noise, side by side, a page at a time.
"use strict";

let found = [];

function drawImages() {
  byId("images").hidden = byId("to-images").hidden = !STEPS.length;
  if (!STEPS.length) return;
  found = chosenSamples();
  const last = Math.max(0, Math.ceil(found.length / PAGE) - 1);
  state.page = Math.min(Math.max(0, state.page), last);
  const rows = rowsOf(state.group).filter((row) => cellOf(row, state.steps));
  const here = found.slice(state.page * PAGE, (state.page + 1) * PAGE);
  byId("found").textContent = `${found.length.toLocaleString("en")} of ${REPORT.samples.sample_id.length.toLocaleString("en")} samples${meanGain()}`;
  byId("ours-label").hidden = state.order === "suite";
  byId("theirs-label").hidden = state.order !== "gain" && state.order !== "loss";
  const heads = el("div", { class: "sample heads", "aria-hidden": "true" }, el("div", { class: "words" }),
    el("div", { class: "strip" }, rows.map((row) => el("div", { class: row.label === state.focus ? "focus" : null }, row.label))));
  const none = found.length ? null : el("p", { class: "quiet" }, "No sample matches.");
  const list = el("div", { class: `samples ${rows.length > 12 ? "many" : ""}`, role: "list" }, heads, here.map((sample) => sampleRow(sample, rows)));
  list.style.setProperty("--methods", rows.length);
  const missing = REPORT.cells.reduce((sum, cell) => sum + cell.images.missing.length, 0);
  const note = missing ? el("p", { class: "quiet" }, `${missing} images are not in the results; their rows are.`) : null;
  fill(byId("images-place"), none, found.length ? list : null, note);
  drawPages(last);
}

/** The mean difference over the samples found; no interval, since a filter chose them. */
function meanGain() {
  if (state.order !== "gain" && state.order !== "loss") return "";
  const scores = found.map(scoreOf);
  if (!scores.length) return "";
  const digits = METRICS.get(state.metric).digits;
  const mean = scores.reduce((sum, score) => sum + score, 0) / scores.length;
  return `: ${state.ours} is better by ${signed(mean, digits)} on average`;
}

function sampleRow(sample, rows) {
  const { prompt, category, sample_id: ids } = REPORT.samples;
  const digits = METRICS.get(state.metric)?.digits ?? 3;
  const score = state.order === "gain" || state.order === "loss" ? scoreOf(sample) : null;
  const gain = score === null ? null : el("span", { class: score > 0 ? "gain up" : "gain" }, signed(score, digits));
  return el("article", { class: "sample", role: "listitem" },
    el("div", { class: "words" },
      el("p", { class: "prompt" }, prompt[sample] ?? ""),
      el("p", { class: "quiet" }, [category[sample], ids[sample]].filter(Boolean).join(" · "), gain ? " " : null, gain)),
    el("div", { class: "strip" }, rows.map((row) => thumb(sample, row, digits))));
}

function thumb(sample, row, digits) {
  const cell = cellOf(row, state.steps);
  const image = imageOf(cell, sample);
  const error = cell.own.error?.[sample];
  const value = state.metric ? short(valueOf(row, state.steps, state.metric, sample), digits) : "";
  const name = `${row.label}: ${REPORT.samples.prompt[sample] ?? ""}`;
  const picture = image
    ? el("img", { src: image.thumb, alt: "", loading: "lazy", decoding: "async", class: pixels() })
    : el("span", { class: "none", title: error }, error ? "failed" : "no image");
  return el("button", {
    type: "button", class: row.label === state.focus ? "thumb focus" : "thumb", "aria-label": `${name}, ${value}`,
    data: { key: `${sample} ${row.label}` }, onclick: () => openViewer(sample, row.label),
  }, picture, el("span", { class: "under" }, el("span", { class: "name" }, row.label), el("span", { class: "value" }, value)));
}

/** Small images are shown as their pixels are. */
function pixels() {
  return (REPORT.shared.size ?? 512) <= 128 ? "pixels" : null;
}

function drawPages(last) {
  const step = (page, text, key, label) => el("button", {
    type: "button", disabled: page < 0 || page > last || page === state.page, "aria-label": label, data: { key },
    onclick: () => { update({ page }); byId("images").scrollIntoView(); },
  }, text);
  fill(byId("pages"), last ? [
    step(0, "«", "first", "First page"), step(state.page - 1, "‹", "back", "Page before"),
    el("span", {}, `${state.page + 1} / ${last + 1}`),
    step(state.page + 1, "›", "next", "Next page"), step(last, "»", "last", "Last page"),
  ] : []);
}
