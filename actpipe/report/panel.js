// The panel of one feature.
"use strict";

const STRIPS = [ // score, title, how to write it, logarithmic
  ["density", "density", sayShare, true],
  ["r2", "token R²", sayUnit, false, "token_r2"],
  ["entropy", "token entropy", (value) => (value === null ? "–" : `${value.toFixed(1)} bits`), false, "token_entropy"],
  ["purity", "purity", sayShare, false],
  ["specificity", "specificity", (value) => (value === null ? "–" : `${value.toFixed(1)} bits`), false],
  ["max", "maximum", say, true],
];
const STRIP_BINS = 28;
const LOGITS = "direction of the logits, final norm’s scale left out";

/** Fill `node` with feature `row` of `dictionary`; `detail` is its record from the shard. */
function showPanel(node, dictionary, row, detail, handlers) {
  const most = row.max ?? 1;
  const chart = make("div", { class: "chart" });
  node.replaceChildren(
    heading(dictionary, row, handlers),
    make("p", { class: "verdict" }, ...verdict(dictionary, row, detail)),
    row.says && make("p", { class: "verdict" }, ...said(row, detail)),
    make("div", { class: "strips" }, ...STRIPS.map((strip) => scoreStrip(dictionary, row, ...strip))),
    make("p", { class: "how" }, make("span", { class: "key here" }), " this feature among all that fire ",
      make("span", { class: "key chance" }), " random directions, from their 10th to their 90th percentile"),
  );
  if (row.count === 0) return;
  node.append(
    contexts(detail, most),
    make("div", { class: "lists" }, topList("Heaviest tokens", "share of activation", detail.tokens, sayShare),
      detail.up && topList("Raises", LOGITS, detail.up, sayUnit), detail.down && topList("Lowers", LOGITS, detail.down, sayUnit)),
    make("h3", {}, "Activations ", make("small", {}, `ticks: the ${detail.examples.length} contexts shown`)),
    chart,
    moments(detail),
  );
  drawActivations(chart, dictionary, detail);
}

function heading(dictionary, row, handlers) {
  const button = (label, title, action) => make("button", { type: "button", title, "aria-label": title, onclick: action }, label);
  const link = button("Link", "Copy a link to this feature", async (event) => {
    const button = event.currentTarget;
    try { await navigator.clipboard.writeText(location.href); button.textContent = "Copied"; }
    catch { button.textContent = "See the address bar"; }
  });
  return make("header", {},
    make("div", {}, make("h2", {}, `Feature ${row.feature}`), make("p", { class: "name" }, dictionary.label)),
    make("div", { class: "buttons" }, button("↑", "Previous feature (k)", () => handlers.step(-1)),
      button("↓", "Next feature (j)", () => handlers.step(1)), link, button("✕", "Close (Esc)", handlers.close)));
}

/** The rules in words, their tokens as chips, and the best concept. */
function said(row, detail) {
  const words = row.says.split(/(`[^`]*`)/).map((part) => {
    if (part.startsWith("`")) return appendVisible(make("bdi", { class: "chip" }), part.slice(1, -1), true);
    return part.replaceAll("|", " ");
  });
  words[0] = words[0].replace(/^./, (letter) => letter.toUpperCase());
  words.push(".");
  if (row.rules !== null) words.push(" F1 of these rules on held-out text: ", make("strong", {}, sayUnit(row.rules)), ".");
  if (detail.concept && row.concept !== null) words.push(` Best concept: ${detail.concept}, F1 `, make("strong", {}, sayUnit(row.concept)), ".");
  return words;
}

/** The numbers in one or two sentences. */
function verdict(dictionary, row, detail) {
  const total = dictionary.rows.toLocaleString("en-US");
  if (row.count === 0) return [`Never fires on ${total} tokens: its density is below ${sayShare(3 / dictionary.rows)} with 95 % confidence.`];
  const parts = [`Fires on ${row.count.toLocaleString("en-US")} of ${total} tokens`];
  if (detail.tokens[0].length) parts.push("; ", make("strong", {}, sayShare(detail.tokens[1][0])), " of its activation falls on ", chip(detail.tokens[0][0]));
  if (row.r2 !== null) {
    parts.push("; the current token explains ", make("strong", {}, sayShare(Math.max(0, row.r2))), " of its variance");
    const chance = dictionary.controls.random_directions?.token_r2?.median;
    if (chance !== null && chance !== undefined) parts.push(` (random directions: ${sayShare(Math.max(0, chance))})`);
  }
  parts.push(".");
  const [neighbour, cosine] = detail.neighbour;
  if (neighbour !== null) {
    const link = make("a", { href: `#${encodeURIComponent(dictionary.member)}/${neighbour}` }, `feature ${neighbour}`);
    parts.push(" Its nearest direction is ", link, `, cosine ${cosine.toFixed(2)}.`);
  }
  return parts;
}

/** Where this feature stands among the living features, and where chance stands (p10 to p90 of random directions). */
function scoreStrip(dictionary, row, score, title, write, logarithmic, control) {
  const value = row[score];
  const scale = logarithmic ? Math.log : (x) => x;
  const all = (dictionary.sorted[score] ??= dictionary.table.filter((r) => r.count > 0 && r[score] !== null).map((r) => scale(r[score])).sort((a, b) => a - b));
  if (all.length === 0) return make("div", { class: "strip" }, make("span", { class: "title" }, title), make("span", { class: "amount" }, "–"));
  const low = ["purity", "entropy", "specificity"].includes(score) ? 0 : Math.min(all[0], score === "r2" ? 0 : Infinity);
  const high = score === "purity" || score === "r2" ? 1 : all[all.length - 1];
  const at = (x) => `${100 * Math.max(0, Math.min(1, (x - low) / (high - low || 1)))}%`;
  const counts = new Array(STRIP_BINS).fill(0);
  for (const x of all) counts[Math.max(0, Math.min(STRIP_BINS - 1, Math.floor(((x - low) / (high - low || 1)) * STRIP_BINS)))] += 1;
  const tallest = Math.max(...counts, 1);
  const shape = make("div", { class: "shape" }, ...counts.map((n) => {
    const column = make("i");
    column.style.height = `${(100 * n) / tallest}%`;
    return column;
  }));
  const chance = control && dictionary.controls.random_directions?.[control];
  if (chance?.p10 !== null && chance?.p10 !== undefined) {
    const band = make("b", { class: "chance", title: `random directions, p10 to p90: ${write(chance.p10)} to ${write(chance.p90)}` });
    band.style.left = at(chance.p10);
    band.style.right = `calc(100% - ${at(chance.p90)})`;
    shape.append(band);
  }
  if (value !== null && row.count > 0) {
    const here = make("b", { class: "here" });
    here.style.left = at(scale(value));
    shape.append(here);
  }
  const rank = value === null || row.count === 0 ? "" : `above ${Math.round((100 * all.filter((x) => x < scale(value)).length) / all.length)} %`;
  return make("div", { class: "strip" }, make("span", { class: "title" }, title), make("span", { class: "amount" }, write(value)), shape,
    make("span", { class: "rank" }, rank));
}

function topList(title, unit, [tokens, values], write) {
  const largest = Math.max(...values.map(Math.abs), 1e-12);
  return make("section", {}, make("h3", {}, title, make("small", {}, unit)), make("ol", { class: "top" }, ...tokens.map((token, i) => {
    const amount = make("span", { class: "amount" }, write(values[i]));
    const line = make("li", {}, chip(token), amount);
    line.style.setProperty("--fill", `${(100 * Math.abs(values[i])) / largest}%`);
    return line;
  })));
}

function contexts(detail, most) {
  const list = make("ol", { class: "contexts" });
  const modes = [["passages", "Passages"], ["lines", "Aligned"]];
  const buttons = modes.map(([mode, label]) => make("button", { type: "button", "aria-pressed": "false", onclick: () => show(mode) }, label));
  function show(mode) {
    remember("contexts", mode);
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(modes[i][0] === mode)));
    list.classList.toggle("lines", mode === "lines");
    list.replaceChildren(...detail.examples.map((example) => contextItem(example, most, mode)));
  }
  show(remember("contexts") ?? "passages");
  return make("section", {}, make("div", { class: "row" }, make("h3", {}, "Strongest contexts ", make("small", {}, "one a document")),
    make("div", { class: "switch", role: "group", "aria-label": "Layout of contexts" }, ...buttons)), list);
}

function contextItem([document_, sequence, position, peak, tokens, active], most, mode) {
  const activationAt = (i) => active[i] ?? 0;
  const place = `document ${document_}, sequence ${sequence}, position ${position}`;
  const value = make("span", { class: "amount", title: place }, say(activationAt(peak)));
  const body = mode === "lines" ? aligned(tokens, peak, activationAt, most) : make("p");
  if (mode !== "lines") tokens.forEach((token, i) => body.append(running(token, activationAt(i), most, i === 0)));
  if (mode !== "lines") body.children[peak]?.classList.add("peak-token");
  const spans = body.querySelectorAll(".token");
  spans.forEach((span, i) => { span.dataset.tip = activationAt(i) ? `${say(activationAt(i))}` : "0"; });
  return make("li", {}, value, body);
}

function drawActivations(node, dictionary, detail) {
  const edges = dictionary.edges;
  const first = detail.bins.findIndex((n) => n > 0);
  if (first < 0) return null;
  const last = detail.bins.findLastIndex((n) => n > 0);
  const rows = detail.bins.slice(first, last + 1).map((n, i) => ({ low: edges[first + i], high: edges[first + i + 1], n }));
  const peaks = detail.examples.map((example) => ({ value: example[5][example[3]] }));
  return draw(node, dictionary.specifications.activations, { rows, peaks });
}

function moments(detail) {
  const [deviation, skew, kurtosis] = detail.moments.map((value) => say(value));
  return make("p", { class: "how" }, `Over the tokens on which it fires: standard deviation ${deviation}, skew ${skew}, excess kurtosis ${kurtosis}; `
    + `${detail.distinct.toLocaleString("en-US")} distinct tokens.`);
}
