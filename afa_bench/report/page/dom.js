// Elements from data. Text always goes in as text: nothing here or elsewhere parses HTML.
"use strict";

/** An element: el("td", {class: "number", onclick: f, data: {key: "x"}}, "text", child, null). */
function el(tag, properties = {}, ...children) {
  return dressed(document.createElement(tag), properties, children);
}

/** The same for SVG. */
function svg(tag, attributes = {}, ...children) {
  return dressed(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function dressed(node, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "data") Object.assign(node.dataset, value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

function byId(id) {
  return document.getElementById(id);
}

/** Put new children into a place; the focus stays on the element with the same data-key. */
function fill(place, ...children) {
  const key = place.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  place.replaceChildren(...children.flat().filter(Boolean));
  if (key) [...place.querySelectorAll("[data-key]")].find((node) => node.dataset.key === key)?.focus({ preventScroll: true });
}

/** Give a select its options, [[value, text], ...], and its value. */
function options(select, pairs, value) {
  select.replaceChildren(...pairs.map(([key, text]) => el("option", { value: key }, text)));
  select.value = value;
}

/** Radio buttons that look like one bar of segments. */
function segments(fieldset, name, pairs, value, choose) {
  if (!fieldset.dataset.filled) {
    fieldset.dataset.filled = "yes";
    for (const [key, text] of pairs) {
      const input = el("input", { type: "radio", name, value: key, onchange: () => choose(key) });
      fieldset.append(el("label", {}, input, el("span", {}, text)));
    }
    fieldset.hidden = pairs.length < 2;
  }
  for (const input of fieldset.querySelectorAll("input")) input.checked = input.value === String(value);
}

/** A number as short as it can be read. */
function short(value, digits) {
  if (value === null || value === undefined) return "–";
  return value.toFixed(digits);
}

function signed(value, digits) {
  const text = short(value, digits);
  return value > 0 && Number(text) !== 0 ? `+${text}` : text.replace("-", "−");
}
