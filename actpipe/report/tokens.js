// Token text on the page. It is data: only textContent is ever set; what cannot be seen was named by payload.py.
"use strict";

const texts = new Map(); // token id → text, filled once by the page

/** Token text standing alone, its spaces visible. */
function chip(text) {
  return make("bdi", { class: "chip" }, text.replaceAll(" ", "·") || "∅");
}

/** Words of ours in which token text stands between backticks → nodes. */
function worded(text) {
  return text.split("`").map((part, i) => (i % 2 ? chip(part) : part.replaceAll("|", " ")));
}

/** A token inside running text; `heat` from 0 to 1, `classes` such as "predicted". */
function running(token, heat, classes) {
  const [, space, word] = /^( ?)(.*)$/s.exec(texts.get(token)); // the space is the token's, but heat on it joins words
  const node = make("bdi", { class: `token ${classes}` }, space, make("span", { class: "word" }, word));
  if (heat) node.style.setProperty("--heat-share", `${Math.round(8 + 92 * heat)}%`);
  return node;
}

/** One line with the peak at a fixed place: what stands before, the peak, what comes after. */
function aligned(parts) {
  return make("span", { class: "aligned" }, ...parts.map((part) => make("bdi", {}, part)));
}
