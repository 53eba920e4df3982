// The table of all units: columns from report.columns, range and text filters, what is shown as an address and as CSV.
"use strict";

const FORMULA = /^\s*[=+\-@]|^[\t\r\n]/; // what a spreadsheet would run instead of show

/** What filters search in a cell that is no number; a context is three parts of one text. */
const plain = (value) => (Array.isArray(value) ? value.join("") : value ?? "");

const inCsv = (value) => (typeof value === "number" ? value : plain(value).replace(FORMULA, "'$&"));

/** `0.2` or `>0.2`: at least; `<1%`: at most; `0.1..0.5`: between, both included. */
function bounds(query) {
  const one = query.trim().startsWith("<") ? ["", query] : [query, ""];
  const [low, high] = (query.includes("..") ? query.split("..") : one).map((text) => text.replace(/[<>=\s]/g, ""));
  const number = (text) => (text.endsWith("%") ? Number(text.slice(0, -1)) / 100 : Number(text));
  return [low === "" ? -Infinity : number(low), high === "" ? Infinity : number(high)];
}

function patternOf(query) {
  try {
    return new RegExp(query, "iu");
  } catch {
    return new RegExp(query.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&"), "iu"); // as it is written
  }
}

/** A test of values; what is undefined passes no filter. */
function passing(query) {
  const [low, high] = bounds(query);
  const pattern = patternOf(query);
  const passes = (value) => (typeof value === "number" ? value >= low && value <= high : pattern.test(plain(value)));
  return (value) => value !== null && passes(value);
}

/** Smaller first; what is undefined stands last in both directions. */
function compare(a, b, sign) {
  if (a === null || b === null) return Number(a === null) - Number(b === null);
  return sign * (Number(a > b) - Number(a < b));
}

// Tabulator's own makes objects of both rows and of the column for every comparison.
Tabulator.extendModule("sort", "prototype", {
  _sortItems(rows, sorters) {
    for (const { column, dir } of sorters) { // the last one decides first, and equal rows keep their order
      const keys = rows.map((row) => column.getFieldValue(row.getData()));
      const order = [...keys.keys()].sort((i, j) => compare(keys[i], keys[j], dir === "asc" ? 1 : -1));
      order.map((i) => rows[i]).forEach((row, i) => { rows[i] = row; });
    }
  },
});

function cellNode(cell) {
  const value = cell.getValue();
  const kind = cell.getColumn().getDefinition().cssClass;
  if (value === null) return make("span", { class: "never" }, kind === "context" ? "never fires" : "–");
  if (kind === "context") return aligned(value);
  if (kind === "text") return make("span", { title: value }, ...worded(value));
  const { rules_low: low, rules_high: high } = cell.getData();
  const limits = kind === "interval" && low !== null ? ` [${say(low, "unit")}, ${say(high, "unit")}]` : "";
  return make("span", {}, say(value, kind), make("small", {}, limits));
}

/** Build the table in `node`; resolves when it is there. */
function buildTable(node, rows, columns) {
  const tests = Object.create(null); // query → test, made once: a filter is called for every row
  const passes = (query, value) => (tests[query] ??= passing(query))(value);
  const table = new Tabulator(node, {
    data: rows, index: "index", height: "min(76vh, 52rem)", layout: "fitDataFill", rowHeight: 34,
    columns: columns.map((column) => ({ ...column, frozen: column.frozen && innerWidth > 700 })),
    columnDefaults: {
      vertAlign: "middle", headerFilter: "input", headerFilterFunc: passes,
      formatter: cellNode, accessorDownload: inCsv,
    },
    renderHorizontal: "virtual", renderVerticalBuffer: 340, placeholder: "No unit passes these filters.",
    rowFormatter: (row) => row.getElement().classList.toggle("dead", row.getData().count === 0),
  });
  return new Promise((resolve) => table.on("tableBuilt", () => resolve(table)));
}

/** What the table shows as parameters of an address; null where it is as at first. */
function viewOf(table, columns) {
  const toggled = columns.filter(({ field, visible: first }) => table.getColumn(field).isVisible() !== first);
  const sort = table.getSorters().map(({ field, dir }) => `${field}.${dir}`);
  return {
    ...Object.fromEntries(columns.map(({ field }) => [field, table.getHeaderFilterValue(field) || null])),
    sort: sort.join(",") || null,
    toggled: toggled.map(({ field }) => field).join(",") || null,
  };
}

/** The opposite: put the table in the state that an address names. */
function setView(table, columns, view) {
  const listed = (name) => (view.get(name) ?? "").split(",");
  for (const { field, visible: first } of columns) {
    const filter = view.get(field) ?? "";
    if (table.getColumn(field).isVisible() !== (first !== listed("toggled").includes(field))) table.toggleColumn(field);
    if ((table.getHeaderFilterValue(field) ?? "") !== filter) table.setHeaderFilterValue(field, filter);
  }
  const sort = listed("sort").map((each) => each.split(".")).map(([column, dir]) => ({ column, dir }));
  table.setSort(sort.filter(({ column }) => columns.some(({ field }) => field === column)));
}
