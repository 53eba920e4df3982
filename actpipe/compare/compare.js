// The page of a comparison: its charts, in the colours of the theme.
"use strict";

async function start() {
  const charts = await load("charts");
  const redraw = () => drawAll(charts, {});
  dress(redraw);
  await redraw();
  document.documentElement.dataset.ready = "true";
}

start().catch(complain);
