// The panel of one unit: draws the blocks that panels.py writes; it knows kinds of blocks and nothing of scores.
"use strict";

const PERMILLE = 1000; // activations come as this times their share of the unit's largest

function titled({ title, about }, content) {
  return make("section", {}, make("h3", {}, title, " ", make("small", {}, about)), content);
}

/** Where one score stands among those of all units, and where the controls stand. */
function strip({ title, about, shape, controls }, [said, at, from, to, above]) {
  const bars = [...controls, ["interval", from, to, null], ["here", at, at, null]];
  const drawn = bars.map(([classes, low, high, tip]) => (
    make("b", { class: classes, title: tip, "--from": `${low}%`, "--to": `${100 - high}%` })
  ));
  return make("div", { class: "strip", title: about },
    make("span", { class: "title" }, title),
    make("span", { class: "amount" }, said),
    make("div", { class: "shape" }, make("i", { "--shape": shape }), ...drawn),
    make("span", { class: "rank" }, above));
}

/** One window: heat by activation, an outline where the rules say that the unit fires. */
function windowItem([number, peak, tokens, shares, predicted], largest) {
  const share = (i) => (shares[i] ?? 0) / PERMILLE;
  const nodes = tokens.map((token, i) => {
    const classes = `${predicted.includes(i) ? "predicted" : ""} ${i === peak && share(i) ? "peak-token" : ""}`;
    const node = running(token, share(i), classes);
    node.dataset.tip = say(share(i) * largest);
    return node;
  });
  const amount = make("span", { class: "amount", title: `document ${number}` }, nodes[peak].dataset.tip);
  return make("li", {}, amount, make("p", {}, ...nodes));
}

function tokenItem([token, said, share]) {
  return make("li", { "--fill": `${share}%` }, chip(texts.get(token)), make("span", { class: "amount" }, said));
}

/** Kind of block → (content, {unit, report, link}) → node. */
const BLOCKS = {
  text: (parts) => make("p", { class: "said" },
    ...parts.flatMap((part) => (part.strong ? make("strong", {}, part.strong) : worded(part)))),
  strips: (marks, { unit, report }) => make("div", { class: "strips" },
    ...marks.map((mark, i) => mark && strip(report.strips[unit.member][i], mark))),
  windows: (block, { unit }) => titled(block,
    make("ol", { class: "contexts" }, ...block.windows.map((each) => windowItem(each, unit.max)))),
  lists: (lists) => make("div", { class: "lists" },
    ...lists.map((list) => titled(list, make("ol", { class: "top" }, ...list.rows.map(tokenItem))))),
  units: (block, { link }) => titled(block, make("ul", { class: "links" }, ...block.units.map(([other, said]) => (
    make("li", {}, make("a", { href: link(...other) }, `unit ${other[1]}`), " ", make("small", {}, said))
  )))),
  chart: (block, { report }) => {
    const node = make("div", { class: "chart" });
    requestIdleCallback(() => node.isConnected && draw(node, report.charts[block.chart].spec, block.datasets));
    return titled(block, node);
  },
};

/** Fill `node` with the blocks of a unit; its charts come when its words are there. */
function showBlocks(node, blocks, context) {
  node.querySelectorAll(".chart").forEach(release);
  node.replaceChildren(...blocks.map(([kind, content]) => BLOCKS[kind](content, context)));
}
