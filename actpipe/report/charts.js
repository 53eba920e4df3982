// Vega-Lite charts: specifications and theme from Python, data by name, colours from page.css.
"use strict";

const views = new Map(); // node → Vega view

/** The theme with its `$name` replaced by the property `--name` of the page. */
async function config() {
  const style = getComputedStyle(document.documentElement);
  return JSON.parse(JSON.stringify(await load("theme"), (_, value) => (typeof value === "string" && value.startsWith("$") ? style.getPropertyValue(`--${value.slice(1)}`).trim() : value)));
}

/** Draw `specification` into `node` in place of what was there; resolves to the view. */
async function draw(node, specification, datasets) {
  const options = {
    // The interpreter evaluates expressions without eval, which the page's security policy forbids.
    ast: true, actions: false, renderer: "canvas", logLevel: vega.Error, config: await config(), defaultStyle: false,
    tooltip: { disableDefaultStyle: true, id: "tooltip", offsetX: 12, offsetY: 12 },
  };
  release(node);
  const { view } = await vegaEmbed(node, { ...structuredClone(specification), datasets }, options);
  views.set(node, view);
  return view;
}

/** Forget the chart in `node`. */
function release(node) {
  views.get(node)?.finalize();
  views.delete(node);
}

/** Draw every figure of the page whose `data-chart` names one of `charts`: {name: {spec, datasets}}. */
async function drawAll(charts, parameters) {
  for (const node of document.querySelectorAll("main [data-chart]")) {
    const chart = charts[node.dataset.chart];
    const spec = structuredClone(chart.spec);
    spec.params?.forEach((parameter) => { if (parameter.name in parameters) parameter.value = parameters[parameter.name]; });
    await draw(node, spec, chart.datasets);
  }
}

/** Set a parameter of every chart that has it. */
function setParameter(name, value) {
  for (const view of views.values()) {
    try { view.signal(name, value).runAsync(); } catch { /* it has none of this name */ }
  }
}
