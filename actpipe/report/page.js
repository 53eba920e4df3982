// The page of a report: which dictionaries are chosen, which unit is open, the address that says so, keys.
"use strict";

let report; // data/report.js
let rows; // one object a unit, in the order of the shards
let table; // Tabulator
let open = null; // the row of the open unit
const marks = new Set(JSON.parse(remember("marks") ?? "[]")); // "member/number" of the units that the reader marked

const address = () => new URLSearchParams(location.hash.slice(1));
const nameOf = ({ member, feature }) => `${report.members[member].member}/${feature}`;
const go = (changes) => { location.hash = addressWith(changes); };

/** The address of this page with some parameters changed; null takes one away. */
function addressWith(changes) {
  const parameters = { ...Object.fromEntries(address()), ...changes };
  const kept = Object.entries(parameters).filter(([, value]) => value !== null);
  return `#${new URLSearchParams(kept).toString().replaceAll("%2F", "/").replaceAll("%2C", ",")}`;
}

/** Columns as loaded → one object a unit. */
function rowsOf(columns) {
  const fields = Object.keys(columns);
  // Copies of an object that has all fields stay compact; what grows a field at a time takes five times the room.
  const blank = JSON.parse(`{"index":0,${fields.map((field) => `"${field}":null`)}}`);
  return columns.feature.map((_, index) => {
    const row = { ...blank, index };
    for (const field of fields) row[field] = columns[field][index];
    row.mark = marks.has(nameOf(row)) ? "★" : null;
    return row;
  });
}

/** The row of MEMBER/NUMBER; undefined where there is none. */
function unitOf(name) {
  const [, member, number] = /^(.*)\/(\d+)$/.exec(name) ?? [];
  return rows.find((row) => row.feature === Number(number) && report.members[row.member].member === member);
}

/** Dictionaries by their numbers with dots between; all when it is empty, that of the middle when it names none. */
function choose(numbers) {
  const all = [...report.members.keys()];
  const named = all.filter((i) => numbers === "" || numbers.split(".").includes(String(i)));
  const chosen = new Set(named.length ? named : [report.start]);
  const [charted] = chosen.size === 1 ? chosen : [report.start];
  $("member").value = chosen.size === 1 ? charted : "";
  $("member-name").textContent = report.members[charted].label;
  document.querySelectorAll("tr[data-member]").forEach((row, i) => row.classList.toggle("chosen", chosen.has(i)));
  setParameter("member", charted);
  table.setFilter((row) => chosen.has(row.member));
}

/** A selection drawn over a chart → the address: the dictionaries inside it, or its sides as filters of units. */
function brushed(node) {
  const ranges = Object.entries(views.get(node).signal("brush"));
  const sides = ranges.map(([field, range]) => [field, range.toSorted((a, b) => a - b)]);
  const inside = (row) => sides.every(([field, [low, high]]) => row[field] >= low && row[field] <= high);
  const members = report.charts.fvu.datasets.rows.filter(inside).map((row) => row.member).join(".");
  const filters = sides.map(([field, side]) => [field, side.map((x) => Number(x.toPrecision(2))).join("..")]);
  if (sides.length) go(node.dataset.brush === "members" ? { members } : Object.fromEntries(filters));
}

async function blocksOf(row) {
  const shard = await load(`units/${Math.floor(row.index / report.shard)}`);
  return shard[row.index % report.shard] ?? [["text", [$("details").textContent]]]; // one file may lack it
}

async function openUnit(row) {
  const blocks = await blocksOf(row);
  open = row;
  $("unit").textContent = `Unit ${row.feature}`;
  $("unit-of").textContent = `${row.arm} · ${row.hook}`;
  $("mark").textContent = row.mark ?? "☆";
  const link = (member, feature) => addressWith({ u: nameOf({ member, feature }) });
  showBlocks($("blocks"), blocks, { unit: row, report, link });
  $("panel").show(); // closing it gives the focus back
  $("panel").focus();
  $("panel").scrollTop = 0;
  if (table.getRowPosition(row.index)) table.scrollToRow(row.index, "center", false);
}

/** To the unit beside the open one in the order and filter of the table, by a method of Tabulator's rows. */
function step(neighbour) {
  const shown = open && table.getRow(open.index);
  const next = shown?.getPosition() ? shown[neighbour]() : table.getDataCount("active") && table.getRowFromPosition(1);
  if (next) go({ u: nameOf(next.getData()) });
}

async function mark() {
  if (!marks.delete(nameOf(open))) marks.add(nameOf(open));
  remember("marks", JSON.stringify([...marks]));
  await table.updateData([{ index: open.index, mark: marks.has(nameOf(open)) ? "★" : null }]);
  $("mark").textContent = open.mark ?? "☆";
}

/** What controls with this `data-act` do, when they are clicked or their `data-key` is pressed. */
const ACTS = {
  section: (hash) => document.querySelector(hash).scrollIntoView(), // the address holds what the page shows
  previous: () => step("getPrevRow"),
  next: () => step("getNextRow"),
  filter: () => document.querySelector(".tabulator-header-filter input").focus(),
  csv: () => table.download("csv", "units.csv"),
  mark,
  column: (field) => table.toggleColumn(field),
  members: (members) => go({ members }),
  metric: (name) => setParameter("metric", name),
  copy: async () => navigator.clipboard.writeText(JSON.stringify({ ...open, panel: await blocksOf(open) }, null, 1)),
  close: () => go({ u: null }),
};

function press(event) {
  const control = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
  const typing = event.target.matches("input, select, textarea");
  if (typing && event.key === "Escape") event.target.blur();
  if (!control?.checkVisibility() || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  control.click();
}

/** Bring the page to what the address says. */
async function route() {
  const view = address(); // before the table changes, which changes it
  const unit = unitOf(view.get("u"));
  choose(view.get("members") ?? String(unit?.member));
  setView(table, report.columns, view);
  if (unit) await openUnit(unit);
  else $("panel").close();
  open = unit ?? null;
  keepView();
}

/** Say what the table shows: rows that pass, the open one, columns; in the address without a step of the history. */
function keepView() {
  $("count").textContent = `${say(table.getDataCount("active"), "integer")} of ${say(rows.length, "integer")}`;
  table.getRows("visible").forEach((row) => row.getElement().classList.toggle("open", row.getData() === open));
  for (const box of document.querySelectorAll("#columns input")) box.checked = table.getColumn(box.value).isVisible();
  history.replaceState(null, "", addressWith(viewOf(table, report.columns)));
}

function offerColumns() {
  $("columns").append(...report.columns.map(({ field, title, headerTooltip }) => {
    const box = make("input", { type: "checkbox", "data-act": "column", value: field });
    return make("label", { title: headerTooltip }, box, " ", title);
  }));
}

/** A click on a button or link, or a change of what is chosen. */
function act(event) {
  const control = event.target.closest("[data-act]");
  if (control?.matches("select, input") !== (event.type === "change")) return;
  event.preventDefault();
  ACTS[control.dataset.act](control.value ?? control.hash);
}

async function start() {
  dress(redraw);
  const [vocabulary, columns, loaded] = await Promise.all(["vocabulary", "units", "report"].map(load));
  vocabulary.ids.forEach((id, i) => texts.set(id, vocabulary.texts[i]));
  report = loaded;
  rows = rowsOf(columns);
  loading.delete("units"); // the rows hold it now
  table = await buildTable($("table"), rows, report.columns);
  if ($("metric")) ACTS.metric($("metric").value);
  offerColumns();
  await route().catch(complain);
  // Not "dataSorted" or "dataFiltered": for these Tabulator makes an object of every row.
  for (const event of ["renderComplete", "columnVisibilityChanged"]) table.on(event, keepView);
  table.on("rowClick", (_event, row) => go({ u: nameOf(row.getData()) }));
  for (const event of ["click", "change"]) document.addEventListener(event, act);
  for (const node of document.querySelectorAll("[data-brush]")) {
    node.addEventListener("pointerdown", () => addEventListener("pointerup", () => brushed(node), { once: true }));
  }
  document.addEventListener("keydown", press);
  window.addEventListener("hashchange", () => route().catch(complain));
  if (address().has("u")) $("units").scrollIntoView({ behavior: "instant" });
  await drawAll(report.charts);
  document.documentElement.dataset.ready = "true";
}

start().catch(complain);
