"use strict";
/* A heat map on a canvas: places from the bottom up, steps from left to right. */

/* cividis (Nunez, Anderton and Renslow 2018, arXiv 1712.01662): fit for the colour-blind and for grey. */
const CIVIDIS = [
  "#00224e",
  "#123570",
  "#3b496c",
  "#575d6d",
  "#707173",
  "#8a8678",
  "#a59c74",
  "#c3b369",
  "#e1cc55",
  "#fee838",
].map((text) => [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16)));
const MARGIN = { left: 52, right: 4, top: 12, bottom: 20 };
const BROKEN = "#d55e00";

/* The colour of a share between 0 and 1. */
function heatColour(share) {
  const at = Math.min(Math.max(share, 0), 1) * (CIVIDIS.length - 1);
  const low = Math.min(Math.floor(at), CIVIDIS.length - 2);
  return `rgb(${CIVIDIS[low].map((part, k) => Math.round(part + (CIVIDIS[low + 1][k] - part) * (at - low))).join(" ")})`;
}

/* From the least to the largest finite value, logarithmic where all are at least 0 and far apart. */
function heatRange(tables) {
  let [low, high, least] = [Infinity, -Infinity, Infinity];
  for (const values of tables)
    for (const value of values) {
      if (!Number.isFinite(value)) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
      if (value > 0) least = Math.min(least, value);
    }
  if (low > high) return { low: 0, high: 1, log: false };
  const log = low >= 0 && high > 5 * least;
  if (log) low = least;
  return low < high ? { low, high, log } : { low, high: low + (Math.abs(low) || 1), log: false };
}

/* Where a value lies in a range, between 0 and 1. */
function heatShare(value, { low, high, log }) {
  return log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
}

const shortPlace = (place) =>
  ({ embedding: "emb.", final_norm: "norm" })[place] ?? place.replace(/^layer_0*(?=\d)/, "");

/* The column of a map in which a step is, and its steps in words. */
function columnAt(map, step) {
  let column = map.edges.length - 2;
  while (column > 0 && map.edges[column] > step) column--;
  return column;
}

function span(map, column) {
  const [first, next] = [map.edges[column], map.edges[column + 1]];
  return map.each > 1 ? `steps ${first} to ${next - 1}` : `step ${first}`;
}

/* Draws `map` ({ edges, values, places }) and a line at column `at`; `events` are marked where they began. */
function drawHeat(canvas, map, range, at, events) {
  const ratio = devicePixelRatio;
  const width = canvas.clientWidth;
  const height = Math.round(
    MARGIN.top + MARGIN.bottom + Math.min(440, Math.max(220, map.places.length * 17)),
  );
  canvas.style.height = `${height}px`;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const ctx = canvas.getContext("2d");
  ctx.scale(ratio, ratio);
  const frame = heatFrame(canvas, map);
  const columns = map.edges.length - 1;
  map.places.forEach((_, line) => {
    const [top, bottom] = [frame.y(line + 1), frame.y(line)];
    for (let column = 0; column < columns; column++) {
      const value = map.values[line * columns + column];
      ctx.fillStyle = !Number.isFinite(value)
        ? BROKEN
        : range.log && value <= 0
          ? "#000"
          : heatColour(heatShare(value, range));
      const [left, right] = [frame.x(map.edges[column]), frame.x(map.edges[column + 1])];
      // A little over the edge, or the page shows through between two columns.
      ctx.fillRect(
        left,
        top,
        right - left + (column < columns - 1 ? 0.6 : 0),
        bottom - top + (line ? 0.6 : 0),
      );
    }
  });
  heatAxes(ctx, map, frame);
  heatEvents(ctx, map, frame, events);
  ctx.strokeStyle = css("--ink");
  ctx.lineWidth = 1.5;
  const [left, right] = [frame.x(map.edges[at]), frame.x(map.edges[at + 1])];
  ctx.strokeRect(left - 0.5, MARGIN.top - 1, Math.max(right - left, 2) + 1, frame.bottom - MARGIN.top + 2);
}

/* From steps and lines to points of the canvas. */
function heatFrame(canvas, map) {
  const [first, last] = [map.edges[0], map.edges[map.edges.length - 1]];
  const width = canvas.clientWidth - MARGIN.left - MARGIN.right;
  const bottom = parseFloat(canvas.style.height) - MARGIN.bottom;
  return {
    bottom,
    x: (step) => MARGIN.left + (width * (step - first)) / (last - first),
    y: (line) => bottom - ((bottom - MARGIN.top) * line) / map.places.length,
    column: (x) => {
      const step = first + ((x - MARGIN.left) / width) * (last - first);
      const found = map.edges.findIndex((edge) => edge > step);
      return Math.min(Math.max((found < 0 ? map.edges.length : found) - 1, 0), map.edges.length - 2);
    },
    line: (y) => Math.floor(((bottom - y) / (bottom - MARGIN.top)) * map.places.length),
  };
}

function heatAxes(ctx, map, frame) {
  ctx.fillStyle = css("--muted");
  ctx.font = FONT;
  ctx.textAlign = "right";
  ctx.textBaseline = "middle";
  const every = Math.ceil((map.places.length * 13) / (frame.bottom - MARGIN.top));
  map.places.forEach((place, line) => {
    const layer = /^layer_0*(\d+)$/.exec(place);
    if (!layer || Number(layer[1]) % every === 0)
      ctx.fillText(shortPlace(place), MARGIN.left - 6, frame.y(line + 0.5));
  });
  ctx.textAlign = "center";
  ctx.textBaseline = "alphabetic";
  const [first, last] = [map.edges[0], map.edges[map.edges.length - 1]];
  const step = stepFor((last - first) / Math.max(2, ctx.canvas.clientWidth / 110));
  for (let at = Math.ceil(first / step) * step; at <= last; at += step)
    ctx.fillText(String(at), Math.min(frame.x(at), ctx.canvas.clientWidth - 16), frame.bottom + 15);
}

/* 1, 2 or 5 times a power of ten, not below `least`, and whole. */
function stepFor(least) {
  const power = 10 ** Math.floor(Math.log10(Math.max(least, 1)));
  return [1, 2, 5, 10].map((times) => times * power).find((step) => step >= least) ?? power;
}

function heatEvents(ctx, map, frame, events) {
  for (const event of events) {
    if (event.step < map.edges[0] || event.step > map.edges[map.edges.length - 1]) continue;
    const x = frame.x(event.step);
    ctx.fillStyle = css("--ink");
    ctx.beginPath();
    ctx.moveTo(x, MARGIN.top - 2);
    ctx.lineTo(x - 5, MARGIN.top - 11);
    ctx.lineTo(x + 5, MARGIN.top - 11);
    ctx.fill();
    const line = map.places.indexOf(event.layers[0]);
    if (line < 0) continue;
    ctx.beginPath();
    ctx.arc(x, frame.y(line + 0.5), 4, 0, 7);
    ctx.fillStyle = "#cc79a7";
    ctx.fill();
    ctx.strokeStyle = "#fff";
    ctx.lineWidth = 1.5;
    ctx.stroke();
  }
}
