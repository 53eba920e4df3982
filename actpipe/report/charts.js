// Vega-Lite charts: specifications and theme from Python, data by name, colours from page.css.
"use strict";

const views = new Map(); // node → Vega view
const parameters = {}; // name → value, of the charts that have it

/** Options of Vega-Embed with their `$name` replaced by the property `--name` of the page. */
async function options() {
  const style = getComputedStyle(document.documentElement);
  const colour = (_, name) => (name?.startsWith?.("$") ? style.getPropertyValue(`--${name.slice(1)}`).trim() : name);
  return JSON.parse(JSON.stringify(await load("theme")), colour);
}

/** Draw a specification into `node` in place of what was there. */
async function draw(node, specification, datasets) {
  release(node);
  const params = (specification.params ?? []).map((each) => ({ ...each, value: parameters[each.name] ?? each.value }));
  const { view } = await vegaEmbed(node, { ...structuredClone(specification), params, datasets }, await options());
  node.redraw = () => draw(node, specification, datasets);
  views.set(node, view);
}

/** Draw every chart again, in the colours that the page has now. */
async function redraw() {
  for (const node of [...views.keys()]) await node.redraw();
}

/** Forget the chart in `node`. */
function release(node) {
  views.get(node)?.finalize();
  views.delete(node);
}

/** Draw every figure of the page whose `data-chart` names one of `charts`: {name: {spec, datasets}}. */
async function drawAll(charts) {
  for (const node of document.querySelectorAll("main [data-chart]")) {
    const { spec, datasets } = charts[node.dataset.chart];
    await draw(node, spec, datasets);
  }
}

/** Set a parameter of every chart that has it, now or when it is drawn. */
function setParameter(name, value) {
  parameters[name] = value;
  for (const view of views.values()) {
    if (name in view.getState().signals) view.signal(name, value).runAsync();
  }
}
