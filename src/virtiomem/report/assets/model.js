// The page's data, read once and given names. `docs/report.md` describes it; addresses are hexadecimal text there.

const data = JSON.parse(find("data").textContent);
const looks = data.looks;
const memDevices = (step) => step.devices.filter((device) => device.type === "virtio-mem");

/** One or more resources of one size behind each other: numbers to draw with, texts (exact beyond 2^53) to show. */
class Row {
  constructor(depth, start, bytes, times, name, kind) {
    Object.assign(this, { depth, times, name, kind, exact: [start, bytes], start: Number(start), size: Number(bytes) });
    this.stop = this.start + this.size * times;
  }
  get range() { return range(this.exact[0], this.exact[1] * BigInt(this.times)); }
  get key() { return (this.known ??= `${this.depth} ${this.range} ${this.times} ${this.name}`); }
  get end() { return this.exact[0] + this.exact[1] * BigInt(this.times); }
}

/** Of each depth, the rows of a step in address order. */
function byDepth(rows) {
  const levels = [];
  for (const row of rows) (levels[row.depth] ??= []).push(row);
  return levels;
}

/** What of the rows has the depth and name of a change and lies where it is. */
function within(levels, { depth, start, stop, name }) {
  const rows = levels[depth] ?? [], found = [];
  let low = 0, high = rows.length; // find the first row that ends behind the start
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rows[middle].end <= start) low = middle + 1; else high = middle;
  }
  for (; low < rows.length && rows[low].exact[0] < stop; low++) {
    const row = rows[low];
    if (row.name !== name) continue;
    const [at, bytes] = row.exact;
    const skip = start > at ? (start - at) / bytes : 0n, end = stop < row.end ? stop : row.end;
    const first = at + skip * bytes;
    found.push(new Row(depth, first, bytes, Number((end - first) / bytes), name, row.kind));
  }
  return found;
}

/** A step's changes, each with the rows it is about as they were and as they are; worked out when the step is looked at. */
function changesOf(recording, number) {
  const step = recording.steps[number];
  step.changed ??= (() => {
    const was = byDepth(recording.steps[number - 1]?.rows ?? []), is = byDepth(step.rows);
    return step.changes.map(([change, depth, start, stop, name]) => {
      const where = { depth, start: BigInt("0x" + start), stop: BigInt("0x" + stop), name: recording.names[name][0] };
      return { change, look: looks.changes[change], ...where, before: within(was, where), after: within(is, where) };
    });
  })();
  return step.changed;
}

/** An inclusive range as /proc/iomem writes it. */
function range(start, bytes) {
  return `${hex(start)}-${hex(start + bytes - 1n)}`;
}

const indent = (row) => "  ".repeat(Math.min(row.depth, 5));

/** The line of the `n`-th of a row's resources. */
function lineOf(row, n) {
  const [start, bytes] = row.exact;
  return `${indent(row)}${range(start + BigInt(n) * bytes, bytes)} : ${row.name}`;
}

for (const [number, recording] of data.recordings.entries()) {
  recording.label = data.recordings.length > 1 ? "AB"[number] : "";
  recording.step = (number) => {
    if (recording.steps[number]) changesOf(recording, number);
    return recording.steps[number] ?? null;
  };
  for (const step of recording.steps) {
    step.rows = step.rows.map(([depth, start, bytes, times, name]) => new Row(depth, BigInt("0x" + start), BigInt("0x" + bytes), times, ...recording.names[name]));
    const look = (number) => {
      if (number === null) return null;
      const [kind, state, zones, nodes] = recording["block-looks"][number];
      return { kind, state, zones, nodes };
    };
    step.blocks = step.blocks.map(([first, times, number]) => ({ first, times, ...look(number) }));
    step.blockChanges = step["block-changes"].map(([first, times, was, now]) => ({ first, times, was: look(was), now: look(now) }));
    for (const device of memDevices(step)) {
      const blocks = step.plugged[device.id], bytes = device["block-size"];
      if (blocks) step.plugged[device.id] = blocks.map((n, i) => n * bytes + (i % 2 ? 0 : device.memaddr)); // start, size, start, size, …
    }
  }
}

const lastStep = Math.max(...data.recordings.map((recording) => recording.steps.length)) - 1;
const depths = 1 + highest(data.recordings.flatMap((r) => r.steps.map((step) => highest(step.rows.map((row) => row.depth)))));

/** Of two recordings: the rows of a step that the other one does not have then, by key; null when there is no other. */
function differing(recording, step) {
  const other = data.recordings.find((r) => r !== recording)?.steps[recording.steps.indexOf(step)];
  if (!other || !step) return null;
  return (step.differing ??= (() => {
    const theirs = new Set(other.rows.map((row) => row.key));
    return new Set(step.rows.map((row) => row.key).filter((key) => !theirs.has(key)));
  })());
}
