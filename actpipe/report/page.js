// The page of a report: which dictionaries are chosen, which unit is open, the address that says so, keys.
"use strict";

let report; // data/report.js
let rows; // one object a unit, in the order of the shards
let table; // Tabulator
let chosen = new Set(); // numbers of the dictionaries whose units are in the table
let open = null; // the row of the open unit
let opener = null; // what had the focus before the panel
const marks = new Set(JSON.parse(remember("marks") ?? "[]")); // "member/number" of the units that the reader marked

const address = () => new URLSearchParams(location.hash.slice(1));
const nameOf = (row) => `${report.members[row.member].member}/${row.feature}`;

/** The address of this page with some parameters changed; null takes one away. */
function addressWith(changes) {
  const parameters = address();
  for (const [name, value] of Object.entries(changes)) {
    if (value === null) parameters.delete(name);
    else parameters.set(name, value);
  }
  return `#${parameters.toString().replaceAll("%2F", "/").replaceAll("%2C", ",")}`;
}

/** Columns as loaded → one object a unit. */
function rowsOf(columns) {
  const fields = Object.keys(columns);
  return columns.feature.map((_, index) => {
    const row = { index };
    for (const field of fields) row[field] = columns[field][index] ?? null;
    row.arm = report.members[row.member].label;
    row.hook = report.members[row.member].hook;
    row.mark = marks.has(nameOf(row)) ? "★" : null;
    return row;
  });
}

/** Dictionaries of the address: `members` holds their numbers; all when it is empty, that of the middle when it is absent. */
function choose(parameter) {
  const all = report.members.map((_, index) => index);
  const named = parameter === "" ? all : (parameter ?? "").split(".").map(Number).filter((index) => all.includes(index) && parameter !== null);
  chosen = new Set(named.length ? named : [report.start]);
  const single = chosen.size === 1 ? [...chosen][0] : null;
  $("member").value = single ?? "";
  document.querySelectorAll("tr[data-member]").forEach((row) => row.classList.toggle("chosen", chosen.has(Number(row.dataset.member))));
  const charted = single ?? report.start;
  $("member-name").textContent = report.members[charted].label;
  setParameter("member", charted);
  table.setFilter((row) => chosen.has(row.member));
}

/** A selection drawn over a chart → filters: {field: [low, high]}. */
function brushed(kind, ranges) {
  const entries = Object.entries(ranges);
  if (kind === "members") {
    const points = report.charts.fvu.datasets.rows.filter((row) => entries.every(([field, [a, b]]) => row[field] >= Math.min(a, b) && row[field] <= Math.max(a, b)));
    location.hash = addressWith({ members: points.map((row) => row.member).join(".") });
  } else {
    for (const [field, range] of entries) {
      table.setHeaderFilterValue(field, range.map((x) => Number(x.toPrecision(2))).sort((a, b) => a - b).join(".."));
    }
  }
}

async function drawCharts() {
  const charted = chosen.size === 1 ? [...chosen][0] : report.start;
  await drawAll(report.charts, { member: charted, metric: $("metric")?.value });
  for (const node of document.querySelectorAll("[data-brush]")) {
    let waiting;
    views.get(node).addSignalListener("brush", (_name, ranges) => {
      clearTimeout(waiting);
      waiting = setTimeout(() => { if (Object.keys(ranges).length) brushed(node.dataset.brush, ranges); }, 200);
    });
  }
}

/** The row of MEMBER/NUMBER; undefined where there is none. */
function unitOf(name) {
  const [, member, number] = /^(.*)\/(\d+)$/.exec(name) ?? [];
  const index = report.members.findIndex((each) => each.member === member);
  return rows.find((row) => row.member === index && row.feature === Number(number));
}

async function openUnit(row) {
  const shard = await load(`units/${Math.floor(row.index / report.shard)}`).catch((error) => { if ($("details")) return []; throw error; });
  const blocks = shard[row.index % report.shard] ?? [["text", [$("details")?.textContent ?? "This unit has no panel."]]];
  if ($("panel").hidden) opener = document.activeElement;
  open = row;
  $("panel").hidden = false;
  document.body.classList.add("with-panel");
  const buttons = [
    ["↑", "Previous unit (k)", () => step(-1)], ["↓", "Next unit (j)", () => step(1)],
    [row.mark ?? "☆", "Mark this unit (m); marks stay in this browser and in the CSV", mark],
    ["Copy", "Copy this unit as JSON (c)", () => navigator.clipboard.writeText(JSON.stringify({ ...row, panel: blocks }, null, 1))],
    ["✕", "Close (Esc)", () => { location.hash = addressWith({ u: null }); }],
  ];
  const address_ = (other, feature) => addressWith({ u: nameOf({ member: other, feature }) });
  showPanel($("panel"), blocks, buttons, { unit: row, report, address: address_ });
  $("panel").scrollTop = 0;
  $("panel").focus({ preventScroll: true });
  showRows();
  const shown = table.getRow(row.index);
  if (shown.getPosition()) table.scrollToRow(shown, "center", false); // its promise stays open where the row is in view already
  return undefined;
}

function closePanel() {
  open = null;
  $("panel").hidden = true;
  document.body.classList.remove("with-panel");
  showRows();
  opener?.focus?.({ preventScroll: true });
}

/** How many rows pass the filters, and which of those in view is open. */
function showRows() {
  $("count").textContent = `${say(table.getDataCount("active"), "integer")} of ${say(rows.length, "integer")}`;
  table.getRows("visible").forEach((row) => row.getElement().classList.toggle("open", row.getData() === open));
}

/** The next unit in the order and filter of the table. */
function step(by) {
  const shown = open && table.getRow(open.index);
  const next = shown?.getPosition() ? (by > 0 ? shown.getNextRow() : shown.getPrevRow()) : table.getDataCount("active") && table.getRowFromPosition(1);
  if (next) location.hash = addressWith({ u: nameOf(next.getData()) });
}

function mark() {
  const name = nameOf(open);
  if (!marks.delete(name)) marks.add(name);
  remember("marks", JSON.stringify([...marks]));
  table.updateData([{ index: open.index, mark: marks.has(name) ? "★" : null }]).then(() => openUnit(open));
}

/** Bring the page to what the address says. */
async function route() {
  try {
    const view = address(); // before the table changes, which changes it
    const unit = unitOf(view.get("u"));
    choose(view.get("members") ?? (unit ? String(unit.member) : null));
    setView(table, report.columns, view);
    if (unit) await openUnit(unit);
    else if (open) closePanel();
  } catch (error) { complain(error); }
}

/** Bring the address to what the table shows, without a step in the history. */
function keepView() {
  const { u, members } = Object.fromEntries(address());
  const parameters = new URLSearchParams({ ...(u !== undefined && { u }), ...(members !== undefined && { members }), ...viewOf(table, report.columns) });
  history.replaceState(null, "", `#${parameters.toString().replaceAll("%2F", "/").replaceAll("%2C", ",")}`);
}

function keys(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input, select, textarea")) { if (event.key === "Escape") event.target.blur(); return; }
  const acts = { j: () => step(1), k: () => step(-1), "/": () => document.querySelector(".tabulator-header-filter input").focus() };
  const ofUnit = { m: mark, c: () => document.querySelectorAll("#panel button")[3].click(), Escape: () => { location.hash = addressWith({ u: null }); } };
  const act = acts[event.key] ?? (open && ofUnit[event.key]);
  if (act) { event.preventDefault(); act(); }
}

function offerColumns() {
  $("columns").append(...report.columns.map(({ field, title, about }) => make("label", { title: about },
    make("input", { type: "checkbox", checked: table.getColumn(field).isVisible(), onchange: () => table.getColumn(field).toggle() }), " ", title)));
}

async function start() {
  dress(() => { if (table) drawCharts().then(() => open && openUnit(open)); });
  try {
    const [vocabulary, columns, loaded] = await Promise.all(["vocabulary", "units", "report"].map(load));
    vocabulary.ids.forEach((id, i) => texts.set(id, vocabulary.texts[i]));
    report = loaded;
    rows = rowsOf(columns);
    loading.delete("units"); // the rows hold it now
  } catch (error) { complain(error); return; }
  table = await buildTable($("table"), rows, report.columns);
  table.on("rowClick", (_event, row) => { location.hash = addressWith({ u: nameOf(row.getData()) }); });
  await route();
  showRows();
  // Not "dataSorted" or "dataFiltered": for these Tabulator makes an object of every row.
  for (const event of ["renderComplete", "columnVisibilityChanged"]) table.on(event, () => { showRows(); keepView(); });
  offerColumns();
  $("member").addEventListener("change", (event) => { location.hash = addressWith({ members: event.target.value }); });
  $("metric")?.addEventListener("change", (event) => setParameter("metric", event.target.value));
  $("csv").addEventListener("click", () => table.download("csv", "units.csv"));
  document.addEventListener("keydown", keys);
  window.addEventListener("hashchange", route);
  if (address().has("u")) $("units").scrollIntoView({ behavior: "instant" });
  await drawCharts();
  document.documentElement.dataset.ready = "true";
}

start();
