// Controls, the address, and drawing again what a change concerns.
"use strict";

const CONCERNS = {
  table: [drawTable, ["group", "steps", "versus", "sort", "down", "focus"]],
  curves: [drawCurves, ["group", "focus"]],
  images: [drawImages, ["group", "steps", "focus", "category", "text", "order", "ours", "theirs", "metric", "page"]],
};

/** Change what is chosen; only what depends on it is drawn again. */
function update(change) {
  const before = { ...state };
  Object.assign(state, change);
  repair();
  const changed = Object.keys(state).filter((key) => state[key] !== before[key]);
  if (changed.some((key) => key !== "page" && key !== "focus" && CONCERNS.images[1].includes(key))) state.page = change.page ?? 0;
  drawControls();
  for (const [draw, keys] of Object.values(CONCERNS)) if (keys.some((key) => changed.includes(key))) draw();
  writeAddress();
}

function drawControls() {
  const labels = rowsOf(state.group).map((row) => [row.label, row.label]);
  const everywhere = [...new Set(REPORT.rows.map((row) => row.label))];
  for (const select of document.querySelectorAll("[data-state=group]")) {
    options(select, GROUPS.map((group) => [group, group]), state.group);
    select.parentElement.hidden = GROUPS.length < 2;
  }
  for (const place of ["table-steps", "image-steps"]) {
    segments(byId(place), place, STEPS.map((steps) => [steps, String(steps)]), state.steps, (steps) => update({ steps }));
  }
  options(byId("versus"), [["", "values"], ...everywhere.map((label) => [label, `difference to ${label}`])], state.versus);
  options(byId("category"), [["", "all"], ...CATEGORIES.map((name) => [name, name])], state.category);
  byId("category").parentElement.hidden = !CATEGORIES.length;
  if (byId("text").value !== state.text) byId("text").value = state.text;
  byId("order").value = state.order;
  options(byId("ours"), labels, state.ours);
  options(byId("theirs"), labels, state.theirs);
  options(byId("metric"), sampleMetrics(state.group).map((metric) => [metric.key, metric.title]), state.metric);
}

function listen() {
  for (const id of ["versus", "category", "order", "ours", "theirs", "metric"]) {
    byId(id).addEventListener("change", (event) => update({ [id]: event.target.value }));
  }
  for (const select of document.querySelectorAll("[data-state=group]")) {
    select.addEventListener("change", (event) => update({ group: event.target.value }));
  }
  byId("text").addEventListener("input", (event) => update({ text: event.target.value }));
  byId("viewer").addEventListener("keydown", viewerKey);
  byId("viewer").addEventListener("click", (event) => { if (event.target === byId("viewer")) byId("viewer").close(); });
  byId("viewer").addEventListener("close", () => {
    const key = `${view.sample} ${view.label}`;
    [...document.querySelectorAll(".thumb")].find((node) => node.dataset.key === key)?.focus();
  });
  addEventListener("hashchange", () => { readAddress(); repair(); drawAll(); writeAddress(); });
}

const THEMES = { auto: ["◐", "Colours: as the system"], light: ["○", "Colours: light"], dark: ["●", "Colours: dark"] };

function theme(name) {
  const [sign, label] = THEMES[name];
  document.documentElement.dataset.theme = name;
  byId("theme").textContent = sign;
  byId("theme").setAttribute("aria-label", label);
  byId("theme").onclick = () => {
    const names = Object.keys(THEMES);
    const next = names[(names.indexOf(name) + 1) % names.length];
    try { localStorage.setItem("afa-bench theme", next); } catch { /* not kept, where storage is denied */ }
    theme(next);
  };
}

function storedTheme() {
  try {
    const name = localStorage.getItem("afa-bench theme");
    return name in THEMES ? name : "auto";
  } catch {
    return "auto";
  }
}

function drawAll() {
  drawControls();
  drawTable();
  drawCurves();
  drawImages();
}

function drawFacts() {
  const generated = REPORT.cells.reduce((sum, cell) => sum + (cell.task === "generate" ? (cell.samples ?? 0) : 0), 0);
  const failed = REPORT.cells.reduce((sum, cell) => sum + (cell.failed ?? 0), 0);
  const prompts = new Set(REPORT.samples.prompt_id).size;
  byId("facts").textContent = [
    `${REPORT.rows.length} methods`, `${prompts.toLocaleString("en")} prompts`, `${generated.toLocaleString("en")} images`,
    failed ? `${failed} failed` : null, REPORT.program,
  ].filter(Boolean).join(" · ");
}

theme(storedTheme());
const section = readAddress();
repair();
drawFacts();
drawAll();
drawProvenance();
listen();
if (section) byId(section)?.scrollIntoView();
document.documentElement.dataset.ready = "yes";
