// What changed in a step, in sentences.

const MANY = 30; // changes told one by one

/** A sentence for every change. */
function changeList(step, first) {
  if (!step) return noSuchStep();
  if (first) return el("p", { class: "muted" }, "This is the guest before the first step.");
  const items = step.changed.slice(0, MANY).map((change) => el("li", {}, chip(change.look.word, change.look.color), el("span", {}, changeText(change))));
  items.push(...blockChanges(step));
  const rest = Math.max(0, step.changed.length - MANY);
  if (rest) items.splice(MANY, 0, el("li", { class: "muted" }, `… and ${plural(rest, "more resource")} that changed`));
  if (step.log?.length) items.push(el("li", {}, driverLog(step.log)));
  return items.length ? el("ul", { class: "changes" }, items) : el("p", { class: "muted" }, "Neither the listing nor a memory block is different from before.");
}

function driverLog(log) {
  return el("details", {}, el("summary", {}, `The driver's log (${plural(log.length, "line")})`), el("pre", { class: "mono" }, log.join("\n")));
}

/** What became of memory blocks; those with the same fate share a line. */
function blockChanges(step) {
  const fates = new Map();
  for (const change of step.blockChanges) {
    const fate = blockFate(change);
    if (!fates.has(fate.text)) fates.set(fate.text, { ...fate, runs: [], times: 0 });
    fates.get(fate.text).runs.push(change);
    fates.get(fate.text).times += change.times;
  }
  return [...fates.values()].map(({ word, text, color, runs, times }) =>
    el("li", {}, chip(word, color), el("span", {}, `Memory block${times === 1 ? "" : "s"} ${manyNumbers(runs, times)}: ${text}`)));
}

function manyNumbers(runs, times) {
  if (runs.length <= 8) return runs.map(blockNumbers).join(", ");
  return `${runs.slice(0, 6).map(blockNumbers).join(", ")} … ${blockNumbers(runs.at(-1))} (${count(times)} blocks)`;
}

function blockFate({ was, now }) {
  const said = (look) => `${look.state}, ${look.zones || "no zone"}${look.kind.endsWith("_PARTIAL") ? ", partly plugged" : ""}`;
  const word = (look) => (look ? looks.blocks[look.kind].word : "no device");
  if (now?.state && !was?.state) return { word: "added", text: said(now) };
  if (was?.state && !now?.state) return { word: "removed", text: `was ${said(was)}` };
  const text = was?.state ? `${said(was)} → ${said(now)}` : `${word(was)} → ${word(now)}`;
  return { word: "changed", text, color: looks.blocks[(now ?? was).kind].color };
}

const bytesOf = (rows) => rows.reduce((sum, row) => sum + row.size * row.times, 0);

/** How much appeared or went, or by how much it is more or less. */
function sizeOfChange({ change, before, after }) {
  if (change === "APPEARED" || change === "WENT") return size(bytesOf(after.length ? after : before));
  const delta = bytesOf(after) - bytesOf(before);
  return delta ? signedSize(delta) : "";
}

function changeText({ change, before, after, name }) {
  const many = (rows) => rows.reduce((sum, row) => sum + row.times, 0);
  const told = (rows) => (rows.length > 3 ? `${plural(many(rows), "resource")} from ${hex(rows[0].start)}` :
    rows.map((row) => (row.times > 1 ? `${row.times} × ${size(row.size)} in ${row.range}` : row.range)).join(" and "));
  const bytes = sizeOfChange({ change, before, after });
  if (change === "APPEARED" || change === "WENT") return `${name}: ${told(after.length ? after : before)}, ${bytes}`;
  return `${name}: ${told(before)} became ${told(after)}${bytes && ", " + bytes}` +
    (change === "GREW" ? " (what was added beside it was merged into it)" : "");
}
