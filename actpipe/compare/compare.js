// The page of a comparison: its charts, in the colours of the theme.
"use strict";

async function start() {
  const charts = await load("charts");
  dress(redraw);
  await drawAll(charts);
  document.documentElement.dataset.ready = "true";
}

start().catch(complain);
