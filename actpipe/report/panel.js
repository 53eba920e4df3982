// The panel of one unit: draws the blocks that panels.py writes; it knows kinds of blocks and nothing of scores.
"use strict";

const PERMILLE = 1000; // activations come as this times their share of the unit's largest
const heading = ({ title, about }) => make("h3", {}, title, " ", make("small", {}, about ?? ""));
const percent = (number) => `${number}%`;

/** Parts of a sentence → nodes. */
function inline(part) {
  if (typeof part === "string") return [part];
  if ("token" in part) return [chip(textOf(part.token))];
  return "words" in part ? worded(part.words) : [make("strong", {}, part.strong)];
}

function strip(shared, mark) {
  if (mark === null) return null;
  const [text, at, from, to, above] = mark;
  const shape = make("div", { class: "shape" }, ...shared.shape.map((height) => make("i", { "--height": percent(height) })),
    ...shared.controls.map(([name, low, high, title], i) => make("b", { class: `chance control-${i} ${name}`, title, "--from": percent(low), "--to": percent(100 - high) })),
    make("b", { class: "interval", "--from": percent(from), "--to": percent(100 - to) }), make("b", { class: "here", "--from": percent(at) }));
  return make("div", { class: "strip", title: shared.about }, make("span", { class: "title" }, shared.title), make("span", { class: "amount" }, text), shape, make("span", { class: "rank" }, above));
}

/** One window: heat by activation, an outline where the rules say that the unit fires. */
function windowItem([document_, peak, tokens, shares, predicted], largest) {
  const share = (i) => (shares[i] ?? 0) / PERMILLE;
  const amount = (i) => say(share(i) * largest);
  const nodes = tokens.map((token, i) => {
    const classes = `${predicted.includes(i) ? "predicted" : ""} ${i === peak && share(i) ? "peak-token" : ""}`;
    const node = running(token, share(i), classes);
    node.dataset.tip = amount(i);
    return node;
  });
  return make("li", {}, make("span", { class: "amount", title: `document ${document_}` }, amount(peak)), make("p", {}, ...nodes));
}

function tokenList({ title, about, tokens, values, texts: written }) {
  const largest = Math.max(...values.map(Math.abs), 1e-12);
  return make("section", {}, heading({ title, about }), make("ol", { class: "top" }, ...tokens.map((token, i) =>
    make("li", { "--fill": percent((100 * Math.abs(values[i])) / largest) }, chip(textOf(token)), make("span", { class: "amount" }, written[i])))));
}

/** Kind of block → (content, {unit, report, address}) → node. */
const BLOCKS = {
  text: (parts) => make("p", { class: "said" }, ...parts.flatMap(inline)),
  strips: (marks, { unit, report }) => make("div", { class: "strips" }, ...marks.map((mark, i) => strip(report.strips[unit.member][i], mark))),
  windows: ({ windows, ...title }, { unit }) => make("section", {}, heading(title), make("ol", { class: "contexts" }, ...windows.map((each) => windowItem(each, unit.max)))),
  lists: (lists) => make("div", { class: "lists" }, ...lists.map(tokenList)),
  units: ({ units, ...title }, { address }) => make("section", {}, heading(title), make("ul", { class: "links" }, ...units.map(([other, text]) =>
    make("li", {}, make("a", { href: address(...other) }, `unit ${other[1]}`), " ", make("small", {}, text))))),
  chart: ({ chart, datasets, ...title }, { report }) => {
    const node = make("div", { class: "chart small" });
    requestIdleCallback(() => { if (node.isConnected) draw(node, report.charts[chart].spec, datasets); }); // words first
    return make("section", {}, heading(title), node);
  },
};

/** Fill `node` with the blocks of a unit; `buttons` are [label, title, act]. */
function showPanel(node, blocks, buttons, context) {
  const { unit } = context;
  node.querySelectorAll(".chart").forEach(release);
  node.replaceChildren(
    make("header", {}, make("div", {}, make("h2", {}, `Unit ${unit.feature}`), make("p", { class: "name" }, `${unit.arm} · ${unit.hook}`)),
      make("div", { class: "buttons" }, ...buttons.map(([label, title, onclick]) => make("button", { type: "button", title, "aria-label": title, onclick }, label)))),
    ...blocks.map(([kind, content]) => BLOCKS[kind](content, context)),
  );
}
