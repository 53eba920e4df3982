// What every page does: elements, loading data, numbers for people, preferences, light and dark.
"use strict";

const nonce = document.currentScript.nonce; // lets in the scripts of data/
const loading = new Map(); // key → promise of its value
const receivers = new Map(); // key → what takes the gzip of JSON in base64 that a data script brings

/** @param {string} id */
const $ = (id) => document.getElementById(id);

/** An element; attributes and style properties by name; children are nodes or strings. */
function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("--")) node.style.setProperty(name, value);
    else if (value !== null && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
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
  return $(`data/${key}`)?.textContent ?? new Promise((resolve, reject) => {
    const script = make("script", { nonce, src: `data/${key}.js` });
    receivers.set(key, resolve);
    script.onload = script.onerror = () => {
      script.remove(); // it has called receive, and resolved, before
      reject(new Error(`data/${key}.js could not be read; keep index.html, data and assets together.`));
    };
    document.head.append(script);
  });
}

/** Called by every file under data/. */
const receive = (key, content) => receivers.get(key)(content);

async function unpacked(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i += 1) bytes[i] = text.charCodeAt(i);
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
}

/** Show an error to the reader. */
const complain = (error) => { $("notice").textContent = error.message; };

/** A preference, set first where a value is given; a browser may forbid them for files. */
function remember(name, value) {
  try {
    if (value !== undefined) localStorage.setItem(`actpipe.${name}`, value);
    return localStorage.getItem(`actpipe.${name}`);
  } catch {
    return null;
  }
}

// Kind of number → how people read it, in the words of d3-format.
const WRITTEN = { number: ",.3~r", tiny: ".1~e", share: ".2~p", unit: ".2f", interval: ".2f", integer: ",d" };
const { format } = vega.defaultLocale();
const WRITERS = Object.fromEntries(Object.entries(WRITTEN).map(([kind, how]) => [kind, format(how)]));

/** A number for reading: of a `kind` of WRITTEN. */
function say(value, kind = "number") {
  if (value === null) return "–";
  const tiny = kind === "number" && value !== 0 && Math.abs(value) < 1e-4;
  return WRITERS[tiny ? "tiny" : kind](value);
}

/** Begin: the theme the reader chose and its button; `redraw` draws everything in new colours. */
function dress(redraw) {
  const root = document.documentElement;
  root.dataset.theme = remember("theme") ?? "";
  $("theme").addEventListener("click", () => {
    root.dataset.theme = getComputedStyle(root).colorScheme.startsWith("dark") ? "light" : "dark";
    remember("theme", root.dataset.theme);
    redraw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
}
