// Token text on the page. It is data: only textContent is ever set, and what cannot be seen is named.
"use strict";

const texts = new Map(); // token id → text, filled once by page.js
const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u; // control, format (bidirectional marks too), surrogate, separators
const NAMED = { "\n": "↵", "\t": "⇥", "\r": "␍" };

function textOf(token) {
  return texts.get(token) ?? `⟨token ${token}⟩`;
}

/** Append `string` to `node`; unseen characters become small named marks, spaces too if `spaces`. */
function appendVisible(node, string, spaces = false) {
  if (string === "") node.append(make("span", { class: "unseen" }, "∅"));
  let plain = "";
  const flush = () => { if (plain) node.append(plain); plain = ""; };
  for (const character of string) {
    const named = UNSEEN.test(character) || (spaces && character === " ");
    if (!named) { plain += character; continue; }
    flush();
    const code = `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
    const shown = character === " " ? "·" : NAMED[character] ?? code;
    node.append(make("span", { class: "unseen", title: code }, shown));
  }
  flush();
  return node;
}

/** A token standing alone, its spaces visible. */
function chip(token) {
  return appendVisible(make("bdi", { class: "chip" }), textOf(token), true);
}

/** A token inside running text, with heat for `activation` as a share of `most`. */
function running(token, activation, most, first = false) {
  const text = textOf(token);
  const space = /^ (?=.)/.test(text); // it belongs to the token, but heat on it joins words
  const word = appendVisible(make("span", { class: "word" }), space ? text.slice(1) : text);
  const node = make("bdi", { class: "token" }, space && !first ? " " : null, word);
  if (activation > 0) {
    node.classList.add("hot");
    node.style.setProperty("--heat-share", `${Math.round(8 + 92 * Math.min(1, activation / most))}%`);
  }
  return node;
}

/** One line with the peak at a fixed place: what stands before, the peak, what comes after. */
function aligned(tokens, peak, activationAt, most) {
  const part = (name, from, to) => {
    const node = make("span", { class: name });
    tokens.slice(from, to).forEach((token, i) => node.append(running(token, activationAt(from + i), most)));
    return node;
  };
  const before = make("span", { class: "before" }, part("inner", 0, peak));
  return make("span", { class: "aligned" }, before, part("peak", peak, peak + 1), part("after", peak + 1, tokens.length));
}
