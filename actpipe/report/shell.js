// What every page does: elements, loading data, numbers for people, preferences, light and dark, links to sections.
"use strict";

const nonce = document.currentScript.nonce; // lets in the scripts of data/
const arrived = new Map(); // key → gzip of JSON in base64, handed over by a data script
const loading = new Map(); // key → promise of its value

/** @param {string} id */
const $ = (id) => document.getElementById(id);

/** An element; attributes by name, `class` included, listeners as `onclick`; children are nodes or strings. */
function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name.startsWith("--")) node.style.setProperty(name, value);
    else if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** Called by every file under data/. */
function receive(key, packed) {
  arrived.set(key, packed);
}

/** The value of `key`, from inside this file or by script, since a page opened from a file may not fetch. */
function load(key) {
  if (!loading.has(key)) {
    const value = packed(key).then(unpacked);
    value.catch(() => loading.delete(key)); // so that it can be tried again
    loading.set(key, value);
  }
  return loading.get(key);
}

async function packed(key) {
  const inside = $(`data/${key}`);
  if (inside) return inside.textContent;
  const script = make("script", { nonce, src: `data/${key}.js` });
  await new Promise((resolve) => {
    script.onload = script.onerror = resolve;
    document.head.append(script);
  });
  script.remove();
  const value = arrived.get(key);
  arrived.delete(key);
  if (value === undefined) throw new Error(`data/${key}.js could not be read. Keep index.html, data and assets together, or run actpipe analyze again.`);
  return value;
}

async function unpacked(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i += 1) bytes[i] = text.charCodeAt(i);
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
}

/** Show an error to the reader. */
function complain(error) {
  $("notice").textContent = error.message;
  $("notice").hidden = false;
}

/** Read or write a preference; a browser may forbid both for files. */
function remember(name, value) {
  try {
    if (value === undefined) return localStorage.getItem(`actpipe.${name}`);
    localStorage.setItem(`actpipe.${name}`, value);
  } catch { /* not remembered */ }
  return null;
}

const WRITTEN = { // kind of number → how people read it
  number: { maximumSignificantDigits: 3 },
  tiny: { maximumSignificantDigits: 2, notation: "scientific" },
  share: { maximumSignificantDigits: 2, style: "percent" },
  unit: { minimumFractionDigits: 2, maximumFractionDigits: 2 },
  integer: {},
};
const writers = Object.fromEntries(Object.entries(WRITTEN).map(([kind, options]) => [kind, new Intl.NumberFormat("en-US", { ...options, signDisplay: "negative" })]));

/** A number for reading: of a `kind` of WRITTEN. */
function say(value, kind = "number") {
  if (value === null || value === undefined) return "–";
  const tiny = kind === "number" && value !== 0 && Math.abs(value) < 1e-4;
  return writers[tiny ? "tiny" : kind].format(value).replace("-", "−");
}

/** Begin: the theme the reader chose, its button, the links of the bar; `redraw` draws everything in new colours. */
function dress(redraw) {
  const root = document.documentElement;
  const chosen = remember("theme");
  if (chosen) root.dataset.theme = chosen;
  $("theme").addEventListener("click", () => {
    root.dataset.theme = getComputedStyle(root).colorScheme.startsWith("dark") ? "light" : "dark";
    remember("theme", root.dataset.theme);
    redraw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  document.querySelectorAll("[data-section]").forEach((link) => link.addEventListener("click", (event) => {
    event.preventDefault();
    $(link.dataset.section).scrollIntoView();
  }));
}
