// The table of features: columns, filter language, selection.
"use strict";

const SCORES = ["density", "max", "mean", "entropy", "tokens", "purity", "specificity", "r2", "rules", "concept", "ms", "feature", "count"];
const CSV_SCORES = ["feature", "count", "density", "max", "mean", "entropy", "tokens", "purity", "specificity", "r2", "rules", "concept", "ms"];
const TOP = ["top_token_1", "top_token_2", "top_token_3"];
const COMPARE = { "<": (a, b) => a < b, ">": (a, b) => a > b, "<=": (a, b) => a <= b, ">=": (a, b) => a >= b, "=": (a, b) => a === b };
const TERM = /^(\w+)(<=|>=|<|>|=)(-?[\d.]+(?:e[+-]?\d+)?)(%?)$/i;
const READY = [
  ["all", ""], ["token features", "r2>0.8"], ["context features", "r2<0.2 density>0"], ["dense", "density>10%"], ["dead", "density=0"],
];

/** Text of the filter box → a function of a row. Unknown names are words to search for. */
function parseQuery(text) {
  const tests = (text.match(/"[^"]*"|\S+/g) ?? []).map((term) => {
    const [, name, sign, number, percent] = term.match(TERM) ?? [];
    if (SCORES.includes(name)) {
      const bound = Number(number) / (percent ? 100 : 1);
      return (row) => row[name] !== null && COMPARE[sign](row[name], bound);
    }
    const word = term.replaceAll('"', "").toLowerCase();
    return (row) => searchable(row).includes(word);
  });
  return (row) => tests.every((test) => test(row));
}

function searchable(row) {
  row.text ??= [...row.top.map(textOf), row.snippet ? row.snippet[0].map(textOf).join("") : "", row.says ?? ""].join("\n").toLowerCase();
  return row.text;
}

/** Columns as loaded → one object a feature. */
function rowsOf(columns) {
  const names = [...SCORES, "top", "snippet", "says"];
  return columns.feature.map((_, i) => Object.fromEntries(names.map((name) => [name, columns[name][i]])));
}

const FORMULA = /^(\s*[=+\-@]|[\t\r\n])/; // what a spreadsheet would run instead of show

/** A cell of text: quoted, and with an apostrophe before what a spreadsheet would take for a formula. */
function csvText(text) {
  return `"${FORMULA.test(text) ? "'" : ""}${text.replaceAll('"', '""')}"`;
}

/** One feature: its scores as they are, empty where undefined, then its tokens and strongest context as text. */
function csvLine(row) {
  const cells = CSV_SCORES.map((name) => (row[name] === null ? "" : String(row[name])));
  const tokens = TOP.map((_, i) => (i < row.top.length ? csvText(textOf(row.top[i])) : ""));
  const context = row.snippet ? csvText(row.snippet[0].map(textOf).join("")) : "";
  return [...cells, ...tokens, context].join(",");
}

/** A Tabulator file format: the rows that pass the filter, in their order; which columns are in view does not matter. */
function writeCsv(table) {
  return (_list, _options, setFileContents) => {
    const lines = table.getRows("active").map((row) => csvLine(row.getData()));
    setFileContents([[...CSV_SCORES, ...TOP, "strongest_context"].join(","), ...lines, ""].join("\r\n"), "text/csv");
  };
}

function bar(share) {
  return (cell) => {
    const value = cell.getValue();
    const node = make("span", { class: "value" }, share.text(value));
    if (value !== null) node.style.setProperty("--fill", `${100 * Math.max(0, Math.min(1, share.of(value)))}%`);
    return node;
  };
}

function tableColumns(rows) {
  const plain = (cell) => make("span", { class: "number" }, say(cell.getValue()));
  const bits = (cell) => make("span", { class: "number" }, cell.getValue() === null ? "–" : cell.getValue().toFixed(1));
  const lowest = Math.log(1 / rows);
  const density = bar({ text: sayShare, of: (value) => (value > 0 ? 1 - Math.log(value) / lowest : 0) });
  const unit = bar({ text: sayUnit, of: (value) => value });
  const score = (title, field, formatter, width, rest) => ({
    title, field, formatter, minWidth: width, width, hozAlign: "right", headerHozAlign: "right", sorter: nullsLast, headerSortStartingDir: "desc", ...rest,
  });
  return [
    score("Feature", "feature", (cell) => make("span", { class: "id" }, String(cell.getValue())), 82, { headerSortStartingDir: "asc", responsive: 0 }),
    { title: "Top tokens", field: "top", formatter: topTokens, width: 180, headerSort: false, responsive: 2, cssClass: "tops" },
    { title: "Strongest context", field: "snippet", formatter: snippet, minWidth: 176, widthGrow: 1, headerSort: false, responsive: 0, cssClass: "context" },
    score("Density", "density", density, 88, { responsive: 1 }),
    score("Token R²", "r2", unit, 96, { responsive: 1 }),
    score("Rules", "rules", unit, 82, { responsive: 2, headerTooltip: "F1 of at most 16 rules on held-out text, at a prevalence of 1 %" }),
    score("Concept", "concept", unit, 88, { responsive: 3, headerTooltip: "F1 of the best concept on held-out text, at a prevalence of 1 %" }),
    score("Entropy", "entropy", bits, 88, { responsive: 4, headerTooltip: "bits" }),
    score("Purity", "purity", unit, 82, { responsive: 3 }),
    score("Max", "max", plain, 78, { responsive: 3 }),
  ];
}

/** Tabulator sorter: undefined scores stand last in both directions. */
function nullsLast(a, b, _rowA, _rowB, _column, direction) {
  if (a === null || b === null) return (a === null) - (b === null) === 0 ? 0 : ((a === null) - (b === null)) * (direction === "asc" ? 1 : -1);
  return a - b;
}

function topTokens(cell) {
  return make("span", { class: "chips" }, ...cell.getValue().map(chip));
}

function snippet(cell) {
  const value = cell.getValue();
  if (value === null) return make("span", { class: "never" }, "never fires");
  const [tokens, peak] = value;
  return aligned(tokens, peak, (i) => (i === peak ? 1 : 0), 1);
}

function buildTable(node, rows, handlers) {
  const table = new Tabulator(node, {
    index: "feature", height: "min(72vh, 46rem)", layout: "fitColumns", responsiveLayout: "hide", columnDefaults: { resizable: false, vertAlign: "middle" },
    columns: tableColumns(rows), placeholder: "No feature passes this filter.", rowHeight: 34, selectableRows: 1, selectableRowsCheck: () => false,
    rowFormatter: (row) => row.getElement().classList.toggle("dead", row.getData().count === 0),
  });
  table.on("rowClick", (_event, row) => handlers.open(row.getData().feature));
  table.on("dataFiltered", (_filters, found) => handlers.filtered(found.length));
  return new Promise((resolve) => table.on("tableBuilt", () => resolve(table)));
}
