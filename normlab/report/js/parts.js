"use strict";
/* What every view is made of: elements, numbers as words, colours. Data becomes text nodes, never markup. */

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/* A labelled choice. `options`: [value, text, group]; the group may be missing. */
function choice(title, options, value, changed) {
  const list = element("select", { onchange: () => changed(list.value) });
  const groups = new Map();
  for (const [option, text, group] of options) {
    if (group && !groups.has(group)) {
      groups.set(group, element("optgroup", { label: group }));
      list.append(groups.get(group));
    }
    (groups.get(group) ?? list).append(element("option", { value: option, textContent: text }));
  }
  list.value = value;
  return element("label", { className: "field" }, title, list);
}

function tick(title, checked, changed) {
  const box = element("input", { type: "checkbox", checked, onchange: () => changed(box.checked) });
  return element("label", { className: "tick" }, box, title);
}

/* Numbers as they are read: four digits, powers of ten where they are far from one. */
function digits(value, places = 4) {
  if (value === null || value === undefined) return "-";
  if (!Number.isFinite(value)) return "not finite";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(places - 2).replace("e+", "e");
  return String(Number(value.toPrecision(places)));
}

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const FONT = '12px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';

/* Axes of a uPlot, in the colours of the page. */
const AXIS = {
  stroke: () => css("--muted"),
  grid: { stroke: () => css("--line"), width: 1 },
  ticks: { stroke: () => css("--line"), width: 1 },
  font: FONT,
  labelFont: FONT,
  labelSize: 18,
};
const VALUES = {
  size: 62,
  values: (_, splits) => splits.map((value) => (value === null ? "" : digits(value, 3))),
};

const COLOURS = 8;
const DASHES = [[], [6, 3], [2, 3], [9, 3, 2, 3]];
/* The look of the n-th of some kinds: eight colours, then the same with dashes. */
const look = (n) => ({
  colour: css(`--c${n % COLOURS}`),
  dash: DASHES[Math.floor(n / COLOURS) % DASHES.length],
});

/* A piece of line with that look. */
function swatch({ colour, dash }) {
  const made = (tag, attributes) => {
    const part = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) part.setAttribute(name, value);
    return part;
  };
  const drawing = made("svg", { class: "swatch", "aria-hidden": "true" });
  drawing.append(
    made("line", {
      x1: 0,
      y1: 5,
      x2: 26,
      y2: 5,
      stroke: colour,
      "stroke-width": 2.5,
      "stroke-dasharray": dash.join(" "),
    }),
  );
  return drawing;
}

const KNOWN = ["stable", "spiked", "untrained", "stuck", "exploded", "nonfinite"];
const outcomeColour = (word) => css(`--${KNOWN.includes(word) ? word : "other"}`);

function outcome(word, count) {
  const text = count === undefined ? word : `${count} ${word}`;
  return element("span", { className: "outcome", "data-outcome": word, textContent: text });
}

/* Values in the order of numbers where they are, else as they come. */
function inOrder(values) {
  const each = [...new Set(values)];
  return each.every((value) => value !== "" && Number.isFinite(Number(value)))
    ? each.sort((a, b) => Number(a) - Number(b))
    : each;
}

/* One stop for the tab key; arrows go on from there. `columns`: how many stand in a row. */
function roving(items, columns) {
  const go = (place) => {
    if (!items[place]) return;
    items.forEach((item) => (item.tabIndex = -1));
    items[place].tabIndex = 0;
    items[place].focus();
  };
  items.forEach((item, place) => {
    item.tabIndex = place === 0 ? 0 : -1;
    item.addEventListener("focus", () =>
      items.forEach((other) => (other.tabIndex = other === item ? 0 : -1)),
    );
    item.addEventListener("keydown", (pressed) => {
      const inRow = place % columns;
      const moves = {
        ArrowRight: inRow < columns - 1 ? 1 : 0,
        ArrowLeft: inRow > 0 ? -1 : 0,
        ArrowDown: columns,
        ArrowUp: -columns,
        Home: -place,
        End: items.length - 1 - place,
      };
      if (pressed.key in moves) {
        pressed.preventDefault();
        go(place + moves[pressed.key]);
      }
    });
  });
}

/* A box with words beside the pointer, within `frame`. */
function tooltip(frame) {
  const box = element("div", { className: "tip", hidden: true });
  frame.append(box);
  return {
    hide: () => (box.hidden = true),
    show(text, left, top) {
      box.textContent = text;
      box.hidden = false;
      const room = frame.clientWidth - box.offsetWidth;
      box.style.left = `${Math.max(0, Math.min(left + 14, room))}px`;
      box.style.top = `${Math.max(0, top - box.offsetHeight - 12)}px`;
    },
  };
}

/* Calls `draw` anew when colours change: another theme, or print, which is always light. */
function onTheme(draw) {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  addEventListener("beforeprint", () => {
    document.documentElement.classList.add("printing");
    draw();
  });
  addEventListener("afterprint", () => {
    document.documentElement.classList.remove("printing");
    draw();
  });
}

function section(name) {
  const found = document.getElementById(name);
  return found && { controls: found.querySelector(".controls"), drawing: found.querySelector(".drawing") };
}

/* Opens what is said of a run. */
function openRun(number) {
  const card = document.getElementById(`run-${number}`);
  card.open = true;
  card.scrollIntoView({ block: "start" });
  card.querySelector("summary").focus({ preventScroll: true });
}
