// Token text on the page. It is data: only textContent is ever set, and what cannot be seen is named.
"use strict";

const texts = new Map(); // token id → text, filled once by the page
const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u; // control, format (bidirectional marks too), surrogate, separators
const NAMED = { " ": "·", "\n": "↵", "\t": "⇥", "\r": "␍" };

function textOf(token) {
  return texts.get(token) ?? `⟨token ${token}⟩`;
}

/** Append `string` to `node`; unseen characters become small named marks, spaces too if `spaces`. */
function appendVisible(node, string, spaces = false) {
  let plain = "";
  const flush = () => { node.append(plain); plain = ""; };
  for (const character of string) {
    if (!UNSEEN.test(character) && !(spaces && character === " ")) { plain += character; continue; }
    flush();
    const code = `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
    node.append(make("span", { class: "unseen", title: code }, NAMED[character] ?? code));
  }
  flush();
  return node;
}

/** Token text standing alone, its spaces visible. */
function chip(text) {
  return appendVisible(make("bdi", { class: "chip" }), text || "∅", true);
}

/** Words of ours in which token text stands between backticks → nodes. */
function worded(text) {
  return text.split("`").map((part, i) => (i % 2 ? chip(part) : appendVisible(make("span"), part.replaceAll("|", " "))));
}

/** A token inside running text; `heat` from 0 to 1, `classes` such as "predicted". */
function running(token, heat, classes = "") {
  const text = textOf(token);
  const space = /^ (?=.)/.test(text); // it belongs to the token, but heat on it joins words
  const word = appendVisible(make("span", { class: "word" }), space ? text.slice(1) : text);
  return make("bdi", { class: `token ${heat > 0 ? "hot" : ""} ${classes}`, "--heat-share": `${Math.round(heat && 8 + 92 * heat)}%` }, space ? " " : null, word);
}

/** One line with the peak at a fixed place: what stands before, the peak, what comes after. */
function aligned([tokens, peak]) {
  const part = (name, from, to) => make("span", { class: name }, ...tokens.slice(from, to).map((token) => running(token, Number(name === "peak"))));
  return make("span", { class: "aligned" }, make("span", { class: "before" }, part("inner", 0, peak)), part("peak", peak, peak + 1), part("after", peak + 1));
}
