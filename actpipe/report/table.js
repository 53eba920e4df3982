// The table of all units: columns from report.columns, range and text filters, what is shown as an address and as CSV.
"use strict";

const FORMULA = /^\s*[=+\-@]|^[\t\r\n]/; // what a spreadsheet would run instead of show
const MEASURED = ["number", "share", "unit", "integer", "interval"]; // kinds; the others are text

/** The text of a cell: what filters search and CSV holds. */
function plain(kind, value) {
  if (value === null) return "";
  if (kind === "tokens") return value.map(textOf).join(" ");
  return kind === "context" ? value[0].map(textOf).join("") : String(value);
}

/** `0.2` or `>0.2`: at least; `<1%`: at most; `0.1..0.5`: between, both included. */
function bounds(query) {
  const [low, high] = query.includes("..") ? query.split("..") : /^\s*</.test(query) ? ["", query] : [query, ""];
  const number = (text, otherwise) => {
    const digits = text.replace(/[<>=%\s]/g, "");
    return digits === "" ? otherwise : Number(digits) / (text.includes("%") ? 100 : 1);
  };
  return [number(low, -Infinity), number(high, Infinity)];
}

/** A test of the values of a column; what is undefined passes no filter. */
function passes(kind, query) {
  if (MEASURED.includes(kind)) {
    const [low, high] = bounds(query);
    return (value) => value !== null && value >= low && value <= high;
  }
  let pattern;
  try { pattern = new RegExp(query, "iu"); } catch { pattern = { test: (text) => text.toLowerCase().includes(query.toLowerCase()) }; }
  return (value) => pattern.test(plain(kind, value));
}

/** Tabulator calls a filter for every row: the test is made once for a query. */
function remembering(kind) {
  let made = { query: null, test: null };
  return (query, value) => {
    if (query !== made.query) made = { query, test: passes(kind, query) };
    return made.test(value);
  };
}

/** Tabulator sorter: what is undefined stands last in both directions. */
function undefinedLast(a, b, _rowA, _rowB, _column, direction) {
  if (a === null || b === null) return a === b ? 0 : (a === null) === (direction === "asc") ? 1 : -1;
  return a < b ? -1 : Number(a > b);
}

function cellNode(kind, cell) {
  const value = cell.getValue();
  if (kind === "context") return value ? aligned(value) : make("span", { class: "never" }, "never fires");
  if (kind === "tokens") return make("span", { class: "chips" }, ...value.map((token) => chip(textOf(token))));
  if (kind === "text") return value === null ? "–" : make("span", { title: value }, ...worded(value));
  const { rules_low: low, rules_high: high } = cell.getData();
  const interval = kind === "interval" && low !== null ? make("small", {}, ` [${say(low, "unit")}, ${say(high, "unit")}]`) : null;
  return make("span", { class: "value" }, say(value, kind === "interval" ? "unit" : kind), interval);
}

function tabulatorColumn({ field, title, kind, about, shown, width }) {
  const measured = MEASURED.includes(kind);
  return {
    field, title, width, visible: shown, headerTooltip: about, hozAlign: measured ? "right" : "left", headerHozAlign: measured ? "right" : "left",
    sorter: undefinedLast, headerSortStartingDir: measured && field !== "feature" ? "desc" : "asc", frozen: field === "feature" && innerWidth > 700,
    formatter: (cell) => cellNode(kind, cell), cssClass: kind, download: /^rules_|^mark$/.test(field) || undefined, titleDownload: field,
    headerFilter: "input", headerFilterFunc: remembering(kind), headerFilterPlaceholder: measured ? "a..b" : "text",
    accessorDownload: (value) => (measured ? value : plain(kind, value).replace(FORMULA, "'$&")),
  };
}

/** Build the table in `node`; resolves when it is there. */
function buildTable(node, rows, columns) {
  const table = new Tabulator(node, {
    data: rows, index: "index", height: "min(76vh, 52rem)", layout: "fitDataFill", rowHeight: 34, placeholder: "No unit passes these filters.",
    columns: columns.map(tabulatorColumn), columnDefaults: { vertAlign: "middle" }, renderHorizontal: "virtual",
    rowFormatter: (row) => row.getElement().classList.toggle("dead", row.getData().count === 0),
  });
  return new Promise((resolve) => table.on("tableBuilt", () => resolve(table)));
}

/** The filters, order and columns of the table, for the address. */
function viewOf(table, columns) {
  const view = Object.fromEntries(table.getHeaderFilters().map(({ field, value }) => [field, value]));
  const sort = table.getSorters().map(({ field, dir }) => `${field}.${dir}`).join(",");
  const shown = columns.filter(({ field, shown: first }) => table.getColumn(field).isVisible() !== first).map(({ field }) => field);
  return { ...view, ...(sort && { sort }), ...(shown.length && { toggled: shown.join(",") }) };
}

/** The opposite: put the table in the state that an address names. */
function setView(table, columns, view) {
  const toggled = (view.get("toggled") ?? "").split(",");
  for (const { field, shown } of columns) {
    const column = table.getColumn(field);
    if (column.isVisible() === (shown !== toggled.includes(field))) continue;
    column.toggle();
  }
  for (const { field } of columns) {
    if ((table.getHeaderFilterValue(field) ?? "") !== (view.get(field) ?? "")) table.setHeaderFilterValue(field, view.get(field) ?? "");
  }
  const sort = (view.get("sort") ?? "").split(",").map((part) => part.split(".")).filter(([field]) => columns.some((column) => column.field === field));
  if (sort.length) table.setSort(sort.map(([column, dir]) => ({ column, dir })));
  else table.clearSort();
}
