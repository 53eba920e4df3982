// Vega-Lite charts: specifications from Python, data by name, colours from page.css.
"use strict";

const views = new Map(); // node → Vega view

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function theme() {
  const [ink, muted, line, accent, mark] = ["ink", "muted", "line", "accent", "mark"].map(colour);
  const font = getComputedStyle(document.body).fontFamily;
  const axis = {
    domainColor: line, gridColor: line, tickColor: line, labelColor: muted, titleColor: muted, titleFontWeight: "normal",
    labelFontSize: 11, titleFontSize: 12, titlePadding: 8, gridOpacity: 0.7, tickSize: 4, domain: false,
    labelOverlap: "greedy", labelSeparation: 8,
  };
  return {
    background: "transparent", font, view: { stroke: null }, axis, axisX: { grid: false, domain: true }, axisY: { ticks: false },
    legend: { labelColor: muted, labelFontSize: 12, symbolStrokeWidth: 0 },
    range: { category: [accent, mark, colour("random"), colour("shuffled"), ink] },
    style: {
      trained: { color: accent, fill: accent, fillOpacity: 0.5, binSpacing: 1 },
      random_directions: { color: colour("random"), stroke: colour("random"), strokeWidth: 2 },
      shuffled_tokens: { color: colour("shuffled"), stroke: colour("shuffled"), strokeWidth: 2 },
      series: { color: accent, stroke: accent, strokeOpacity: 0.45, strokeWidth: 1.5 },
      member: { color: accent, stroke: accent, fill: accent, strokeWidth: 1.5, cursor: "pointer" },
      "member-label": { color: ink, fill: ink, fontSize: 11, align: "left", dx: 9, dy: -8 },
      feature: { color: accent, fill: accent, cursor: "pointer", stroke: null },
      activation: { color: mark, fill: mark, fillOpacity: 0.75, binSpacing: 1 },
      "trained-line": { color: accent, stroke: accent, strokeWidth: 2, fill: null },
      "trained-point": { color: accent, fill: accent, size: 36 },
      "trained-band": { color: accent, fill: accent, fillOpacity: 0.2, stroke: null },
      "trained-cell": { color: accent, fill: accent, stroke: null },
      "untrained-line": { color: colour("random"), stroke: colour("random"), strokeWidth: 2, strokeDash: [5, 3], fill: null },
      "untrained-point": { color: colour("random"), fill: colour("random"), size: 24 },
      "untrained-band": { color: colour("random"), fill: colour("random"), fillOpacity: 0.2, stroke: null },
      "untrained-cell": { color: colour("random"), fill: colour("random"), stroke: null },
      peak: { color: ink, stroke: ink, strokeOpacity: 0.6, orient: "vertical", size: 7, thickness: 1 },
    },
  };
}

/** Draw `specification` into `node` in place of what was there; resolves to the view. */
async function draw(node, specification, datasets) {
  views.get(node)?.finalize();
  const options = {
    // The interpreter evaluates expressions without eval, which the page's security policy forbids.
    ast: true, actions: false, renderer: "canvas", logLevel: vega.Error, config: theme(), defaultStyle: false,
    tooltip: { disableDefaultStyle: true, id: "tooltip", offsetX: 12, offsetY: 12 },
  };
  const { view } = await vegaEmbed(node, { ...structuredClone(specification), datasets }, options);
  views.set(node, view);
  return view;
}

function setParameter(node, name, value) {
  const view = views.get(node);
  if (view) view.signal(name, value).runAsync();
}
