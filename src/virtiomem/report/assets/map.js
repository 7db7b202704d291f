// The memory map of one recording at one step: a ruler, what changed, the resources, the memory blocks.
// Only what is in view is drawn, and what is narrower than a pixel is drawn together: a guest may have 100 000 blocks.

const ROW = 24, STRIP = 7, BLOCKS = 26, CAPTION = 16, CLOSER = 3;

/**
 * A drawing of `step`; `view` is [from, to] on the axis, `width` in pixels, `chosen` the key of a row or null, `differs` the
 * keys of rows that another recording does not have, null when there is none.
 */
function drawMap(recording, step, { view, width, chosen, differs }) {
  const scale = width / (view[1] - view[0]);
  const x = (address) => (place(address) - view[0]) * scale;
  const svg = draw("svg", { role: "img", "aria-label": mapInWords(recording, step), preserveAspectRatio: "none" }, hatch());
  let y = 0;
  const lane = (height, caption, ...content) => {
    const g = draw("g", { transform: `translate(0 ${y + (caption ? CAPTION : 0)})` }, ...content);
    if (caption) svg.append(draw("text", { x: 6, y: y + 12, class: "caption" }, caption));
    svg.append(g);
    y += height + (caption ? CAPTION : 0);
  };
  lane(34, null, ruler(view, scale, x));
  lane(20, step.changed.length ? "changed: before (upper), after (lower)" : "nothing changed", changeStrip(step, x, width));
  if (differs) lane(10, differs.size ? "differs from the other recording" : "the same in the other recording", differenceStrip(step, differs, x, width));
  lane(depths * ROW + 2, "resources (/proc/iomem)", resources(step.rows, x, width, step, chosen));
  lane(BLOCKS + 6, `memory blocks of ${exactSize(recording["block-size"])}${step.blockChanges.length ? ", changed ones underlined" : ""}`, blocks(recording, step, x, width));
  svg.firstChild.after(folds(x, width, y));
  svg.setAttribute("viewBox", `0 0 ${width} ${y}`);
  svg.setAttribute("height", y);
  return svg;
}

/** Where on the axis the changed memory blocks are, with room around them; null where the map in view shows them well. */
function closer(recording, step, width) {
  if (!step.blockChanges.length) return null;
  const bytes = recording["block-size"], last = step.blockChanges.reduce((most, c) => Math.max(most, c.first + c.times), 0);
  const from = place(step.blockChanges[0].first * bytes), to = place(last * bytes), wide = to - from;
  return (wide / (state.view[1] - state.view[0])) * width < CLOSER ? [Math.max(0, from - wide / 2), Math.min(1, to + wide / 2)] : null;
}

/** What the picture shows, for who cannot see it. */
function mapInWords(recording, step) {
  const ram = step.rows.filter((row) => row.name.startsWith("System RAM"));
  const bytes = ram.reduce((sum, row) => sum + row.size * row.times, 0);
  return `Memory map${recording.label && " of " + recording.label}: ${plural(step.facts.resources, "resource")}, ` +
    `${size(bytes)} of System RAM in ${step.facts.ram}; the listing below says the same in text.`;
}

function hatch() {
  return draw("defs", {},
    draw("pattern", { id: "hatch", width: 8, height: 8, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
      draw("rect", { width: 8, height: 8, class: "foldground" }), draw("line", { y2: 8, class: "hatching" })),
    draw("pattern", { id: "used", width: 5, height: 5, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
      draw("line", { y2: 5, class: "usage" })));
}

/** Folded stretches: hatched over the full height, torn at both edges, with how much they leave out. */
function folds(x, width, height) {
  const g = draw("g");
  for (const piece of axis.filter((p) => p.folded)) {
    const left = Math.max(0, x(piece.start)), right = Math.min(width, x(piece.stop));
    if (right - left < 1) continue;
    g.append(draw("rect", { x: left, y: 0, width: right - left, height, class: "fold" }));
    for (const edge of [left, right]) if (edge > 0 && edge < width) g.append(draw("path", { d: tear(edge, height), class: "tear" }));
  }
  return g;
}

function tear(at, height) {
  let d = `M${at} 0`;
  for (let y = 4, side = 1; y <= height; y += 4, side = -side) d += `L${at + 2 * side} ${y}`;
  return d;
}

function ruler(view, scale, x) {
  const g = draw("g");
  for (const piece of axis.filter((p) => p.folded)) {
    const middle = (Math.max(view[0], piece.from) + Math.min(view[1], piece.to)) / 2;
    if (piece.to > view[0] && piece.from < view[1]) {
      const text = `⋯ ${size(piece.stop - piece.start)}`, half = text.length * 3.8, width = (view[1] - view[0]) * scale;
      g.append(draw("text", { x: Math.min(width - half - 2, Math.max(half + 2, (middle - view[0]) * scale)), y: 11,
        "text-anchor": "middle", class: "tick" }, text));
    }
  }
  const marks = ticks(view[0], view[1], 92 / scale), rounded = marks.map((address) => size(address));
  const named = new Set(rounded).size < rounded.length ? exactSize : size; // two that look alike are told exactly
  for (const address of marks) {
    const at = x(address), anchor = at < 40 ? "start" : at > (view[1] - view[0]) * scale - 40 ? "end" : "middle";
    g.append(draw("text", { x: at, y: 24, "text-anchor": anchor, class: "tick" }, address ? named(address) : "0"),
      draw("line", { x1: at, x2: at, y1: 28, y2: 34, class: "grid" }));
  }
  return g;
}

/** Two thin strips: what changed as it was, and as it is; with the word for it where there is room. */
function changeStrip(step, x, width) {
  const g = draw("g");
  for (const [side, top] of [["before", 0], ["after", STRIP + 1]]) {
    for (const word of Object.keys(looks.changes)) {
      const rows = step.changed.filter((change) => change.change === word).flatMap((change) => change[side]);
      for (const [left, right] of stretches(rows, (row) => [x(row.start), x(row.stop)], width)) {
        g.append(draw("rect", { x: left, y: top, width: Math.max(2, right - left), height: STRIP,
          class: top ? "box touched" : "box nowhere" }, draw("title", {}, looks.changes[word].word)));
      }
      for (const row of rows) if (row.times > 1) g.append(seams(row.start, row.size, row.times, x, top, STRIP, width));
    }
  }
  if (step.changed.length > 6) return g;
  const extents = step.changed.map((change) => [x(Number(change.start)), x(Number(change.stop))]);
  for (const [i, change] of step.changed.entries()) {
    const text = `${change.look.word} ${sizeOfChange(change)}`, left = extents[i][1] + 6, right = left + text.length * 7.2;
    if (left < 0 || right > width || extents.some(([from, to], other) => other !== i && from < right && left < to + 6)) continue;
    extents.push([left, right]);
    g.append(draw("text", { x: left, y: 12 }, text));
  }
  return g;
}

/** Where a listing differs from another one. */
function differenceStrip(step, differs, x, width) {
  return draw("g", {}, stretches(step.rows.filter((row) => differs.has(row.key)), (row) => [x(row.start), x(row.stop)], width)
    .map(([left, right]) => draw("rect", { x: left, y: 1, width: Math.max(2, right - left), height: STRIP, class: "differs" })));
}

/** Where things lie, in pixels and in view; neighbours that a pixel would not keep apart are one, unless they are wide. */
function stretches(things, extent, width) {
  const found = [];
  for (const thing of things) {
    const [left, right] = extent(thing);
    if (right < 0 || left > width) continue;
    const last = found[found.length - 1];
    if (last && left - last[1] < 1 && (right - left < 3 || last[1] - last[0] < 3)) last[1] = Math.max(last[1], Math.min(right, width));
    else found.push([Math.max(0, left), Math.min(width, right)]);
  }
  return found;
}

/** The limits between equal neighbours, when there is room to see them. */
function seams(start, each, times, x, top, height, width) {
  let d = "";
  if (x(start + each) - x(start) >= 5) {
    let low = 1, high = times; // the first limit in view
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      if (x(start + middle * each) <= 0) low = middle + 1; else high = middle;
    }
    for (let i = low, at; i < times && (at = x(start + i * each)) < width; i++) d += `M${at.toFixed(1)} ${top}v${height}`;
  }
  return draw("path", { d, class: "seam" });
}

function resources(rows, x, width, step, chosen) {
  const g = draw("g"), outlines = draw("g");
  const changed = new Set(step.changed.flatMap((change) => change.after.map((row) => row.start + " " + row.depth)));
  const dust = []; // of each depth: what is narrower than a pixel there, waiting to be drawn together
  const sweep = (depth) => {
    const d = dust[depth];
    if (d) g.append(boxOf(d.row, d.x, Math.max(1.2, d.right - d.x), d.times > 1 ? `${plural(d.times, "resource")} here, such as ` : ""));
    dust[depth] = null;
  };
  for (const row of rows) {
    const left = x(row.start), right = x(row.stop);
    if (right < 0 || left > width) continue;
    if (right - left < 1.5) {
      const d = dust[row.depth];
      if (d && left - d.x < 1.5) {
        d.times += row.times; d.right = right;
        if (row.size * row.times > d.row.size * d.row.times) d.row = row;
      } else { sweep(row.depth); dust[row.depth] = { row, x: left, right, times: row.times }; }
    } else {
      sweep(row.depth);
      const from = Math.max(-2, left), to = Math.min(width + 2, right);
      g.append(boxOf(row, from, to - from, ""), seams(row.start, row.size, row.times, x, row.depth * ROW, (depths - row.depth) * ROW, width));
      label(g, row, Math.max(0, left), Math.min(width, right));
    }
    const isChanged = right - left > 2 && changed.has(row.start + " " + row.depth);
    if (isChanged) outlines.append(outline(row, left, right, "changed"));
    if (chosen && row.key === chosen) outlines.append(outline(row, left, right, "chosen"));
  }
  dust.forEach((_, depth) => sweep(depth));
  g.append(outlines);
  return g;
}

function boxOf(row, left, wide, prefix) {
  const top = row.depth * ROW;
  const box = draw("rect", { x: left, y: top, width: wide, height: (depths - row.depth) * ROW, rx: wide > 6 ? 2 : 0,
    fill: looks.resources[row.kind].color, class: wide > 3 ? "box" : null, "data-key": row.key });
  box.append(draw("title", {}, `${prefix}${row.range} : ${row.name}`));
  return box;
}

function outline(row, left, right, kind) {
  return draw("rect", { x: left + 1, y: row.depth * ROW + 1, width: Math.max(1, right - left - 2), height: (depths - row.depth) * ROW - 2,
    rx: 2, class: kind });
}

/** A box's name, with its size where there is room. */
function label(g, row, left, right) {
  const room = Math.floor((right - left - 8) / 6.7);
  if (room < 3) return;
  const bytes = row.times > 1 ? `${row.times} × ${size(row.size)}` : size(row.size);
  let text = `${row.name}, ${bytes}`;
  if (text.length > room) text = row.name;
  if (text.length > room) text = room > 5 ? text.slice(0, room - 1) + "…" : "";
  if (text) g.append(draw("text", { x: left + 5, y: row.depth * ROW + 16, class: "on", stroke: looks.resources[row.kind].color, "pointer-events": "none" }, text));
}

function blocks(recording, step, x, width) {
  const g = draw("g"), bytes = recording["block-size"];
  const columns = new Map(); // pixel -> kind -> share, of runs narrower than two pixels
  for (const run of step.blocks) {
    const left = x(run.first * bytes), right = x((run.first + run.times) * bytes);
    if (right < 0 || left > width) continue;
    if (right - left < 2) {
      const pixel = Math.floor(left), column = columns.get(pixel) ?? columns.set(pixel, new Map()).get(pixel);
      column.set(run.kind, (column.get(run.kind) ?? 0) + right - left);
    } else g.append(blockRun(recording, step, run, left, right, x, width));
  }
  for (const [pixel, column] of columns) g.append(...blockColumn(pixel, column));
  g.append(...memoryInUse(recording, step, x, width));
  for (const [left, right] of stretches(step.blockChanges, (c) => [x(c.first * bytes), x((c.first + c.times) * bytes)], width)) {
    g.append(draw("rect", { x: left, y: BLOCKS + 1, width: Math.max(1.5, right - left), height: 3, class: "touched" }));
  }
  return g;
}

/** What is in use of blocks that should go: a bar from below, as high as its share of the block. */
function memoryInUse(recording, step, x, width) {
  const bytes = recording["block-size"];
  return step["in-use"].map(([block, used, words]) => [Math.max(0, x(block * bytes)), Math.min(width, x((block + 1) * bytes)), used, words])
    .filter(([left, right]) => left < right).map(([left, right, used, words]) => {
      const height = Math.max(4, Math.min(1, used / bytes) * BLOCKS);
      return draw("rect", { x: left, y: BLOCKS - height, width: Math.max(1, right - left - 1), height, class: "used" }, draw("title", {}, words));
    });
}

/** Many small runs on one pixel: each kind as high as its share. */
function blockColumn(pixel, column) {
  const total = [...column.values()].reduce((a, b) => a + b, 0);
  let top = 0;
  return Object.keys(looks.blocks).filter((kind) => column.has(kind)).map((kind) => {
    const height = (column.get(kind) / total) * BLOCKS;
    top += height;
    return draw("rect", { x: pixel, y: top - height, width: 1, height, fill: looks.blocks[kind].color, opacity: kind === "UNUSED" ? 0.25 : 1 });
  });
}

function blockRun(recording, step, run, left, right, x, width) {
  const g = draw("g"), bytes = recording["block-size"], look = looks.blocks[run.kind];
  const from = Math.max(-2, left), to = Math.min(width + 2, right), partial = run.kind.endsWith("_PARTIAL") || run.kind === "PLUGGED";
  const empty = run.kind === "UNUSED";
  g.append(draw("rect", { x: from, y: 0, width: to - from, height: BLOCKS, class: empty ? "place" : null,
    fill: empty ? null : look.color, opacity: partial ? 0.35 : 1, "data-block": run.first }));
  g.append(draw("title", {}, blockText(run)));
  if (partial) g.append(pluggedWithin(step, run.first * bytes, (run.first + run.times) * bytes, x, look.color, width));
  g.append(seams(run.first * bytes, bytes, run.times, x, 0, BLOCKS, width));
  const room = Math.min(width, right) - Math.max(0, left);
  const words = `${look.symbol === "." ? "" : look.symbol + " "}${blockNumbers(run)} ${run.zones || (empty ? "" : look.word)}`.trim();
  const text = words.length * 6.3 < room - 6 ? words : room > 14 ? look.symbol : "";
  if (text && !(empty && text === ".")) {
    g.append(draw("text", { x: Math.max(0, left) + 4, y: 17, class: empty ? "tick" : "on", stroke: empty ? null : look.color, "pointer-events": "none" }, text));
  }
  return g;
}

/** The sub-blocks of a partly plugged block that are plugged. */
function pluggedWithin(step, start, stop, x, color, width) {
  const g = draw("g");
  for (const spans of Object.values(step.plugged)) {
    const inside = [];
    for (let i = 0; spans && i < spans.length; i += 2) {
      const from = Math.max(start, spans[i]), to = Math.min(stop, spans[i] + spans[i + 1]);
      if (from < to) inside.push([x(from), x(to)]);
    }
    for (const [left, right] of stretches(inside, (pair) => pair, width)) {
      g.append(draw("rect", { x: left, y: 0, width: Math.max(0.8, right - left), height: BLOCKS, fill: color }));
    }
  }
  return g;
}

const blockNumbers = (run) => (run.times === 1 ? `${run.first}` : `${run.first}–${run.first + run.times - 1}`);

function blockText(run) {
  const many = run.times === 1 ? "Memory block" : "Memory blocks";
  if (!run.state) return `${run.times === 1 ? "Place" : "Places"} for memory block${run.times === 1 ? "" : "s"} ${blockNumbers(run)}: ${looks.blocks[run.kind].word}`;
  const node = run.nodes.length ? `, node ${run.nodes.join(" and ")}` : "";
  return `${many} ${blockNumbers(run)}: ${run.state}, ${run.state === "online" ? "zone" : "valid zones"} ${run.zones}${node} (${looks.blocks[run.kind].word})`;
}

/** What the colours mean; only of kinds that occur. */
function legend() {
  const steps = data.recordings.flatMap((r) => r.steps);
  const kinds = new Set(steps.flatMap((s) => s.rows.map((row) => row.kind)));
  const states = new Set(steps.flatMap((s) => s.blocks.map((run) => run.kind)));
  const list = (head, table, used, symbols) => el("ul", { class: "legend" }, el("li", { class: "head" }, head),
    Object.entries(table).filter(([name]) => used.has(name)).map(([name, look]) => el("li", {}, swatch(name, look, symbols), look.word)));
  const memory = list("Memory blocks", looks.blocks, states, true);
  if (steps.some((s) => s["in-use"].length)) memory.append(el("li", {}, el("span", { class: "swatch used", "aria-hidden": "true" }), "in use: what holds a block that should go"));
  return [list("Resources", looks.resources, kinds, false), memory].filter((list) => list.children.length > 1);
}

function swatch(name, look, symbol) {
  const box = el("span", { class: "swatch", "aria-hidden": "true" }, symbol && look.symbol !== "." ? look.symbol : "");
  if (name !== "UNUSED") box.style.background = name.endsWith("_PARTIAL") ? `linear-gradient(90deg, ${look.color} 50%, ${look.color}59 50%)` : look.color;
  return box;
}
