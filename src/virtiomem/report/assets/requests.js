// The requests as a table.

const REQUEST_HEAD = [["Step", "n"], ["Device"], ["Type"], ["Answer"], ["Times", "n"], ["Address"], ["Blocks", "n"], ["Size of each", "n"]];

/** The requests that the filters let through. */
function requestTable(recording, current, filters) {
  const runs = chosenRuns(recording, current, filters);
  const times = runs.reduce((sum, [, run]) => sum + run[6], 0);
  const rows = filters.each ? runs.flatMap(([step, run]) => Array.from({ length: run[6] }, (_, n) => [step, run, n])) : runs;
  const caption = plural(times, "request") + (rows.length < times ? ` in ${plural(rows.length, "row")}` : "");
  const made = table(`Requests ${recording.label}`, REQUEST_HEAD, [], caption);
  paged(made.querySelector("tbody"), rows.length, (from, to) => rows.slice(from, to).map((row) => requestRow(recording, ...row)),
    (text, go) => el("tr", {}, el("td", { colspan: REQUEST_HEAD.length }, el("button", { type: "button", click: go }, text))));
  return made;
}

/** [step, run] for each run of alike requests that the filters let through. */
function chosenRuns(recording, current, filters) {
  const steps = filters.steps === "all" ? recording.steps.keys() : [current];
  const wanted = ([device, type, answer]) =>
    (filters.type || type) === type && (filters.device || device) === device && (filters.answer || answer) === answer;
  return [...steps].flatMap((step) => (recording.step(step)?.requests ?? []).filter(wanted).map((run) => [step, run]));
}

/** A run of alike requests, or the `nth` of it alone. */
function requestRow(recording, step, [device, type, answer, addr, blocks, stride, times], nth = null) {
  const look = Object.hasOwn(looks.responses, answer) ? looks.responses[answer] : null;
  const blockSize = recording.step(step).devices.find((d) => d.id === device)?.["block-size"];
  return el("tr", {}, cell(String(step), "n"), cell(device), cell(type),
    el("td", { class: "answer" }, chip(answer, look?.color), look ? ` ${look.word}` : ""),
    cell(nth === null && times > 1 ? `${count(times)} ×` : "", "n"),
    cell(addr === null ? "–" : addresses(BigInt("0x" + addr), BigInt(stride), nth === null ? times : 1, nth ?? 0), "mono"),
    cell(blocks === null ? "–" : count(blocks), "n"), cell(blocks === null || !blockSize ? "–" : size(blocks * blockSize), "n"));
}

function addresses(first, stride, times, nth) {
  const text = (n) => "0x" + (first + stride * BigInt(n)).toString(16);
  return times > 1 ? `${text(0)} … ${text(times - 1)} (each ${signedSize(Number(stride))})` : text(nth);
}
