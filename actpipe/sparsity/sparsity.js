// The page on sparsity: which measure and which hook are shown, and their charts.
"use strict";

const ROW = 13; // pixels a layer takes in the charts of cells
const AXIS = 55; // and the axis below them
const NAMES = { trained: "the model", untrained: "at initialisation" };
let report; // data/sparsity.js

function measureNow() {
  return report.measures.find((measure) => measure.name === $("measure").value);
}

function amount(value, measure) {
  if (value === null) return "–";
  return measure.unit === "share" ? say(value, "share") : measure.unit === "units" ? `${say(value)} units` : say(value, "unit");
}

/** A mean with its interval, as a tooltip says it. */
function estimate([mean, low, high], measure) {
  return low === null ? amount(mean, measure) : `${amount(mean, measure)} (${amount(low, measure)} to ${amount(high, measure)})`;
}

function record(row, measure, place) {
  const [mean, low, high] = row[measure.name];
  return { ...place, arm: row.arm, task: row.task, mean, low, high, who: NAMES[row.arm], shown: estimate(row[measure.name], measure) };
}

/** Rows of the hooks of one stack. */
function layersOf(stack, keep) {
  const hooks = new Map(report.hooks.filter((hook) => hook.stack === stack).map((hook, i) => [hook.hook, hook.layer ?? i]));
  return report.layers.filter((row) => hooks.has(row.hook) && keep(row)).map((row) => ({ ...row, layer: hooks.get(row.hook) }));
}

async function chart(node, name, rows, edit) {
  const specification = structuredClone(report.specifications[name]);
  edit?.(specification);
  await draw(node, specification, { rows });
}

function sayPercent(measure) {
  return (specification) => { specification.params.find((parameter) => parameter.name === "percent").value = measure.unit === "share"; };
}

async function drawLayers() {
  const measure = measureNow();
  for (const node of document.querySelectorAll("[data-chart=layers], [data-chart=tasks]")) {
    const tasks = node.dataset.chart === "tasks";
    const keep = tasks ? (row) => row.arm === "trained" && report.tasks.includes(row.task) : (row) => row.task === report.overall;
    const rows = layersOf(node.dataset.stack, keep).map((row) => record(row, measure, { layer: row.layer, place: row.hook }));
    await chart(node, node.dataset.chart, rows, sayPercent(measure));
  }
}

/** Bins of the firing rates of one row; every bin from the first to the last of `range`. */
function bins(row, [first, last]) {
  return row.rate_histogram.slice(first, last + 1).map((n, i) => ({
    arm: row.arm, layer: row.layer, low: report.edges[first + i], high: report.edges[first + i + 1], n, share: n / row.units,
  }));
}

/** The first and the last bin that hold a unit in any of the rows. */
function occupied(rows) {
  const held = report.edges.slice(1).map((_, i) => rows.some((row) => row.rate_histogram[i] > 0));
  return held.includes(true) ? [held.indexOf(true), held.lastIndexOf(true)] : [0, held.length - 1];
}

async function drawCells() {
  for (const node of document.querySelectorAll("[data-chart=cells]")) {
    const rows = layersOf(node.dataset.stack, (row) => row.task === report.overall);
    const range = occupied(rows); // of both arms, so that they can be compared
    const most = Math.max(...rows.flatMap((row) => row.rate_histogram.map((n) => n / row.units)), 1e-9);
    const own = rows.filter((row) => row.arm === node.dataset.arm);
    await chart(node, "cells", own.flatMap((row) => bins(row, range)), (specification) => {
      specification.height = ROW * Math.max(own.length, 3) + AXIS;
      specification.layer.forEach((layer) => { layer.encoding.fillOpacity.scale.domain = [0, most]; });
    });
  }
}

async function drawHook() {
  const name = $("hook").value;
  const measure = measureNow();
  document.querySelectorAll("tr[data-hook]").forEach((row) => row.classList.toggle("chosen", row.dataset.hook === name));
  const rows = report.layers.filter((row) => row.hook === name && row.task === report.overall);
  $("never").textContent = rows.map((row) => `${NAMES[row.arm]}: ${row.never_active.toLocaleString("en-US")} of ${row.units.toLocaleString("en-US")} never`).join(" · ");
  const range = occupied(rows);
  await chart(document.querySelector("[data-chart=rates]"), "rates", rows.flatMap((row) => closed(bins(row, range))));
  const positions = report.positions.filter((row) => row.hook === name).map((row) => record(row, measure, {
    middle: Math.sqrt((row.first + 1) * (row.last + 1)), place: row.first === row.last ? `position ${row.first + 1}` : `positions ${row.first + 1} to ${row.last + 1}`,
  }));
  await chart(document.querySelector("[data-chart=positions]"), "positions", positions, sayPercent(measure));
}

/** The line of an initialisation is drawn in steps and needs an end. */
function closed(rows) {
  const end = rows[rows.length - 1];
  return end.arm === "untrained" ? [...rows, { ...end, low: end.high }] : rows;
}

async function showMeasure() {
  const measure = measureNow();
  document.querySelectorAll(".measure-name").forEach((node) => { node.textContent = measure.title; });
  document.querySelectorAll(".measure-meaning").forEach((node) => {
    node.textContent = `Mean over tokens: ${measure.meaning}. Bands: 95 % of what other documents would have given.`;
  });
  await drawLayers();
  await drawHook();
}

async function start() {
  dress(redraw);
  try { report = await load("sparsity"); } catch (error) { complain(error); return; }
  $("measure").value = report.shown;
  $("measure").addEventListener("change", showMeasure);
  $("hook").addEventListener("change", drawHook);
  document.querySelectorAll("tr[data-hook] a").forEach((link) => link.addEventListener("click", (event) => {
    event.preventDefault();
    $("hook").value = link.closest("tr").dataset.hook;
    drawHook();
    document.querySelector(".row.one").scrollIntoView();
  }));
  await drawCells();
  await showMeasure();
  document.documentElement.dataset.ready = "true";
}

start();
