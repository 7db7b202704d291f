// The page's data, read once and given names. `docs/report.md` describes it; addresses are hexadecimal text there.

const data = JSON.parse(find("data").textContent);
const looks = data.looks;

/** One or more resources of one size behind each other: numbers to draw with, texts (exact beyond 2^53) to show. */
function readRow([depth, start, bytes, times, name], recording) {
  const [text, kind] = recording.names[name];
  const row = { depth, start: parseInt(start, 16), size: parseInt(bytes, 16), times, name: text, kind };
  row.stop = row.start + row.size * times;
  row.range = range(BigInt("0x" + start), BigInt("0x" + bytes) * BigInt(times));
  row.exact = [BigInt("0x" + start), BigInt("0x" + bytes)];
  row.key = `${depth} ${row.range} ${times} ${text}`;
  return row;
}

/** An inclusive range as /proc/iomem writes it. */
function range(start, bytes) {
  return `${hex(start)}-${hex(start + bytes - 1n)}`;
}

/** The line of each of a row's resources, from the `from`-th, at most `limit`. */
function* lines(row, from = 0, limit = Infinity) {
  const indent = "  ".repeat(Math.min(row.depth, 5));
  const [start, bytes] = row.exact;
  for (let i = from; i < Math.min(row.times, from + limit); i++) {
    yield `${indent}${range(start + BigInt(i) * bytes, bytes)} : ${row.name}`;
  }
}

/** The whole listing of a step, as text. */
function listingText(step) {
  return step.rows.map((row) => [...lines(row)].join("\n") + "\n").join("");
}

for (const [index, recording] of data.recordings.entries()) {
  recording.label = data.recordings.length > 1 ? "AB"[index] : "";
  recording.step = (number) => recording.steps[number] ?? null;
  for (const step of recording.steps) {
    step.rows = step.rows.map((row) => readRow(row, recording));
    step.changes = step.changes.map(([change, before, after]) => ({
      change, look: looks.changes[change],
      before: before.map((row) => readRow(row, recording)),
      after: after.map((row) => readRow(row, recording)),
    }));
    const look = (number) => {
      if (number === null) return null;
      const [kind, state, zones, nodes] = recording["block-looks"][number];
      return { kind, state, zones, nodes };
    };
    step.blocks = step.blocks.map(([first, times, number]) => ({ first, times, ...look(number) }));
    step.blockChanges = step["block-changes"].map(([first, times, was, now]) => ({ first, times, was: look(was), now: look(now) }));
    for (const [device, numbers] of Object.entries(step.plugged)) {
      step.plugged[device] = numbers && numbers.map((text) => parseInt(text, 16));
    }
  }
}

const lastStep = Math.max(...data.recordings.map((recording) => recording.steps.length)) - 1;
const memDevices = (step) => step.devices.filter((device) => device.type === "virtio-mem");
const depths = 1 + Math.max(0, ...data.recordings.flatMap((r) => r.steps.flatMap((s) => s.rows.map((row) => row.depth))));
