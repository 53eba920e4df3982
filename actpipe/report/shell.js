// What every page does: loading data, remembering preferences, light and dark, links to sections.
"use strict";

const arrived = new Map(); // key → value handed over by a data script
const loading = new Map(); // key → promise
const $ = (id) => document.getElementById(id);

/** Called by every file under data/. */
function receive(key, value) {
  arrived.set(key, value);
}

/** Data by script, since a page opened from a file may not fetch. */
function load(key) {
  if (!loading.has(key)) {
    loading.set(key, new Promise((resolve, reject) => {
      const script = make("script", { src: `data/${key}.js` });
      script.onload = () => (arrived.has(key) ? resolve(arrived.get(key)) : reject(new Error(key)));
      script.onerror = () => { loading.delete(key); reject(new Error(key)); };
      document.head.append(script);
    }));
  }
  return loading.get(key);
}

/** Read or write a preference; a browser may forbid both for files. */
function remember(name, value) {
  try {
    if (value === undefined) return localStorage.getItem(`actpipe.${name}`);
    localStorage.setItem(`actpipe.${name}`, value);
  } catch { /* not remembered */ }
  return null;
}

function complain(error) {
  $("notice").textContent = `data/${error.message}.js could not be read. Keep index.html, data and assets together, or run actpipe analyze again.`;
  $("notice").hidden = false;
}

function setTheme(name) {
  if (name) document.documentElement.dataset.theme = name;
}

/** Wire the button of the theme and the links of the bar; `redraw` draws everything in the new colours. */
function dress(redraw) {
  $("theme").addEventListener("click", () => {
    const dark = getComputedStyle(document.documentElement).colorScheme.startsWith("dark");
    setTheme(dark ? "light" : "dark");
    remember("theme", dark ? "light" : "dark");
    redraw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  document.querySelectorAll("[data-section]").forEach((link) => link.addEventListener("click", (event) => {
    event.preventDefault();
    $(link.dataset.section).scrollIntoView();
  }));
}
