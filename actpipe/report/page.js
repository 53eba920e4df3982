// The page: the chosen dictionary, the open feature, addresses (#member/feature), keys.
"use strict";

let report; // data/report.js
let dictionary = null; // the chosen one, with its table
let table; // Tabulator
let open = null; // number of the open feature
let opener = null; // what had the focus before the panel

async function chooseMember(index) {
  const member = report.members[index];
  const columns = await load(`${index}/table`);
  dictionary = {
    ...member, index, table: rowsOf(columns), charts: columns.charts, sorted: {}, rows: report.rows, edges: report.edges[member.hook],
    controls: report.controls[member.member] ?? {}, specifications: report.specifications,
  };
  $("member").value = String(index);
  $("member-name").textContent = member.label;
  document.querySelectorAll("tr[data-member]").forEach((row) => row.classList.toggle("chosen", Number(row.dataset.member) === index));
  showTiles();
  showChips();
  await table.setData(dictionary.table);
  applyQuery();
  await Promise.all([drawSweep(), drawMember()]);
}

function showTiles() {
  const d = dictionary;
  const tile = (title, value, note) => make("div", {}, make("dt", {}, title), make("dd", {}, value, " ", make("small", {}, note)));
  $("tiles").replaceChildren(
    tile("L0", say(d.l0 ?? d.analysed_l0), "features a token"),
    tile("FVU", say(d.fvu), "variance unexplained"),
    ...(d.loss_recovered === null ? [] : [tile("Loss recovered", sayShare(d.loss_recovered), `ΔCE ${say(d.delta_ce)} nats`)]),
    tile("Alive", d.alive_units.toLocaleString("en-US"), `of ${d.units.toLocaleString("en-US")}`),
    tile("Dense", d.dense_units.toLocaleString("en-US"), "fire on > 10 % of tokens"),
    tile("Token features", d.token_units.toLocaleString("en-US"), "token R² > 0.8"),
  );
}

function showChips() {
  $("chips").replaceChildren(...READY.map(([name, query]) => {
    const n = dictionary.table.filter(parseQuery(query)).length;
    return make("button", { type: "button", "data-query": query, onclick: () => setQuery(query) }, name, " ", make("small", {}, n.toLocaleString("en-US")));
  }));
}

function setQuery(query) {
  $("query").value = query;
  applyQuery();
}

function applyQuery() {
  const query = $("query").value.trim();
  if (query) table.setFilter(parseQuery(query));
  else table.clearFilter();
  document.querySelectorAll("#chips button").forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.query === query)));
}

async function drawSweep() {
  for (const name of ["fvu", "delta_ce"]) {
    const node = document.querySelector(`[data-chart=${name}]`);
    if (!node) continue;
    if (!views.has(node)) {
      const view = await draw(node, report.specifications[name], { rows: report.members });
      view.addEventListener("click", (_event, item) => { if (item?.datum?.member) go(item.datum.member); });
    }
    setParameter(node, "chosen", dictionary.member);
  }
}

async function drawMember() {
  for (const name of ["token_r2", "token_entropy", "density"]) {
    await draw(document.querySelector(`[data-chart=${name}]`), report.specifications[name], { rows: dictionary.charts[name] });
  }
  const node = document.querySelector("[data-chart=map]");
  const points = dictionary.table.filter((row) => row.count > 0 && row.r2 !== null);
  const rows = points.map(({ feature, density, r2, top }) => ({ feature, density, r2, text: textOf(top[0]) }));
  const view = await draw(node, report.specifications.map, { rows });
  view.addEventListener("click", (_event, item) => { if (item?.datum?.feature !== undefined) go(dictionary.member, item.datum.feature); });
  let waiting;
  let brushed = "";
  view.addSignalListener("brush", (_name, { density, r2 }) => {
    clearTimeout(waiting);
    if (!density && brushed && $("query").value === brushed) setQuery("");
    if (density && r2) waiting = setTimeout(() => setQuery(brushed = rangeQuery({ density, r2 })), 150);
  });
  if (open !== null) setParameter(node, "chosen", open);
}

/** Ranges by score → the filter that says them. */
function rangeQuery(ranges) {
  return Object.entries(ranges).map(([name, [low, high]]) => `${name}>${Number(low.toPrecision(2))} ${name}<${Number(high.toPrecision(2))}`).join(" ");
}

async function openFeature(feature) {
  const at = dictionary.table.findIndex((row) => row.feature === feature);
  if (at < 0) return closePanel();
  const shard = await load(`${dictionary.index}/${Math.floor(at / report.shard)}`);
  if ($("panel").hidden) opener = document.activeElement;
  open = feature;
  $("panel").hidden = false;
  document.body.classList.add("with-panel");
  showPanel($("panel"), dictionary, dictionary.table[at], shard[feature], { step, close: () => go(dictionary.member) });
  $("panel").scrollTop = 0;
  $("panel").focus({ preventScroll: true });
  markRow();
  setParameter(document.querySelector("[data-chart=map]"), "chosen", feature);
  return undefined;
}

function closePanel() {
  open = null;
  $("panel").hidden = true;
  document.body.classList.remove("with-panel");
  markRow();
  opener?.focus?.({ preventScroll: true });
}

function markRow() {
  table.getRows("active").forEach((row) => row.getElement().classList.toggle("open", row.getData().feature === open));
  if (open !== null) table.scrollToRow(open, "center", false).catch(() => {}); // filtered out: nothing to scroll to
}

/** The next feature in the order and filter of the table. */
function step(by) {
  const order = table.getRows("active").map((row) => row.getData().feature);
  const next = order[order.indexOf(open) + by];
  if (next !== undefined) go(dictionary.member, next);
}

function go(member, feature) {
  location.hash = feature === undefined ? encodeURIComponent(member) : `${encodeURIComponent(member)}/${feature}`;
}

/** A part of the address; what is no address stands for itself and so for no dictionary. */
function decoded(part) {
  try { return decodeURIComponent(part); } catch { return part; }
}

async function route() {
  const [name, feature] = location.hash.slice(1).split("/");
  const found = report.members.findIndex((member) => member.member === decoded(name));
  const index = found >= 0 ? found : dictionary?.index ?? defaultMember();
  try {
    if (dictionary?.index !== index) await chooseMember(index);
    if (feature !== undefined && /^\d+$/.test(feature)) await openFeature(Number(feature));
    else if (open !== null) closePanel();
  } catch (error) { complain(error); }
}

/** The dictionary in the middle of the sweep by sparsity. */
function defaultMember() {
  const order = report.members.map((member, index) => [member.l0 ?? member.analysed_l0 ?? 0, index]).sort((a, b) => a[0] - b[0]);
  return order[Math.floor((order.length - 1) / 2)][1];
}

function keys(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input, select, textarea")) { if (event.key === "Escape") event.target.blur(); return; }
  if (event.key === "j" || event.key === "k") step(event.key === "j" ? 1 : -1);
  else if (event.key === "Escape" && open !== null) go(dictionary.member);
  else if (event.key === "/") { event.preventDefault(); $("query").focus(); }
}

async function redraw() {
  views.forEach((view) => view.finalize());
  views.clear();
  if (dictionary) { await drawSweep(); await drawMember(); if (open !== null) await openFeature(open); }
}

async function start() {
  dress(redraw);
  try {
    const [vocabulary, loaded] = await Promise.all([load("vocabulary"), load("report")]);
    vocabulary.ids.forEach((id, i) => texts.set(id, vocabulary.texts[i]));
    report = loaded;
  } catch (error) { complain(error); return; }
  const counted = (n) => { $("count").textContent = `${n.toLocaleString("en-US")} of ${(dictionary?.units ?? 0).toLocaleString("en-US")}`; };
  table = await buildTable($("table"), report.rows, { open: (feature) => go(dictionary.member, feature), filtered: counted });
  table.on("renderComplete", () => table.getRows("visible").forEach((row) => row.getElement().classList.toggle("open", row.getData().feature === open)));
  $("query").addEventListener("input", applyQuery);
  $("member").addEventListener("change", (event) => go(report.members[Number(event.target.value)].member));
  $("csv").addEventListener("click", () => table.download(writeCsv(table), `${dictionary.member}.csv`));
  document.addEventListener("keydown", keys);
  window.addEventListener("hashchange", route);
  if (location.hash.includes("/")) $("features").scrollIntoView({ behavior: "instant" });
  await route();
  document.documentElement.dataset.ready = "true";
}

start();
