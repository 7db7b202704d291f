// /proc/iomem as text, with what changed marked.

const COUNTED_FROM = 16; // more equal neighbours than this are told in three lines

/** The listing with what changed marked: new lines, and above them struck what was there before. */
function listing(recording, step, { every, chosen, differs, choose }) {
  if (!step) return noSuchStep();
  const list = el("ol", { class: "listing mono", tabindex: 0, "aria-label": `/proc/iomem ${recording.label}` });
  const entries = [...marked(step)];
  const sizes = entries.map(({ row }) => (every || row.times <= COUNTED_FROM ? row.times : 3));
  const total = sizes.reduce((a, b) => a + b, 0);
  let at = 0, within = 0; // the next entry, and which of its lines
  paged(list, total, (from, to) => Array.from({ length: to - from }, () => {
    const item = listItem(entries[at], within, sizes[at], { chosen, differs });
    if (++within === sizes[at]) { at++; within = 0; }
    return item;
  }), (text, go) => el("li", { class: "more" }, el("button", { type: "button", click: go }, text)));
  list.addEventListener("click", (event) => {
    const key = event.target.closest("li[data-key]")?.dataset.key;
    if (key) choose(key, recording);
  });
  return list;
}

/** The rows of a step in order, what was there before above what is there now: { row, change, was }. */
function* marked(step) {
  const gone = step.changed.flatMap((change) => change.before.map((row) => ({ row, change, was: true })))
    .sort((a, b) => a.row.start - b.row.start || a.row.depth - b.row.depth);
  const changed = byDepth(step.changed.filter((change) => change.after.length)), at = [];
  const changeOf = (row) => { // both ascend, so each level is gone through once
    const level = changed[row.depth] ?? [];
    let i = at[row.depth] ?? 0;
    while (i < level.length && level[i].stop <= row.exact[0]) i++;
    at[row.depth] = i;
    while (i < level.length && level[i].start < row.end) if (level[i++].name === row.name) return level[i - 1];
    return undefined;
  };
  let next = 0;
  for (const row of step.rows) {
    while (next < gone.length && (gone[next].row.start - row.start || gone[next].row.depth - row.depth) <= 0) yield gone[next++];
    yield { row, change: changeOf(row) };
  }
  yield* gone.slice(next);
}

/** One line: the `n`-th of the `of` that tell of a row. */
function listItem({ row, change, was }, n, of, { chosen, differs }) {
  const other = !was && !change && differs?.has(row.key), mark = was ? "−" : change ? "+" : "";
  const note = n ? "" : was ? "was here" : change ? change.look.word : other ? "differs" : "";
  const kinds = [was ? "was" : change ? "is" : other ? "differs" : "", !was && row.key === chosen ? "chosen" : ""];
  const text = of < row.times && n === 2 ? theRest(row) : lineOf(row, n);
  return el("li", { class: kinds.join(" ").trim() || null, "data-key": was ? null : row.key },
    el("span", { class: "mark", "aria-hidden": "true" }, mark), el("span", { class: "text" }, text), el("span", { class: "note" }, note));
}

const theRest = (row) => `${indent(row)}… ${count(row.times - 2)} more of ${size(row.size)} each, up to ${row.range.split("-")[1]}`;
