// Zones, crash dump, differences: tables.

const ZONES = ["DMA", "DMA32", "Normal", "Movable", "Device"];
const ZONE_HEAD = [["Node"], ["Zone"], ["Spanned", "n"], ["Present", "n"], ["Managed", "n"]];

/** Zones that have pages, with the change since the step before. */
function zoneTable(recording, current) {
  const step = recording.step(current), old = recording.step(current - 1);
  if (!step) return noSuchStep();
  const rows = [];
  for (const [node, zones] of Object.entries(step.zones)) {
    for (const zone of Object.keys(zones).sort((a, b) => ZONES.indexOf(a) - ZONES.indexOf(b))) {
      const now = zones[zone], was = old?.zones[node]?.[zone] ?? now;
      if (!now.spanned && !now.present && !was.present) continue;
      rows.push(el("tr", {}, rowHead(node), rowHead(zone), ["spanned", "present", "managed"].map((key) => pagesCell(now[key], was[key], recording["page-size"]))));
    }
  }
  return rows.length ? table(`Zones ${recording.label}`, ZONE_HEAD, rows) : el("p", { class: "muted" }, "This recording says nothing of zones.");
}

function pagesCell(now, was, page) {
  const delta = now - was;
  return el("td", { class: "n" }, `${size(now * page)} `, el("span", { class: "muted" }, `(${count(now)})`),
    delta ? el("span", { class: "delta" }, ` ${signedSize(delta * page)}`) : null);
}

const LOADERS = { kernel: "kernel (kexec -s)", "kexec-tools": "kexec-tools (kexec -c)" };
const CRASH_HEAD = [["Made by"], ["RAM ranges", "n"], ["Without merging", "n"], ["Memory", "n"], ["Table used", "n"], ["Missing"]];

/** What a crash dump would hold. */
function crashTable(recording, step) {
  if (!step) return noSuchStep();
  const missing = (crash) => (crash.refused ? "all: it gives up" : crash.lost ? size(crash.lost) : "nothing");
  return table(`Crash dump ${recording.label}`, CRASH_HEAD, step.crash.map((crash) => el("tr", {}, rowHead(LOADERS[crash.loader]),
    cell(count(crash.ranges), "n"), cell(count(crash.unmerged), "n"), cell(size(crash.size), "n"),
    cell(crash.limit === null ? count(crash.entries) : `${count(crash.entries)} of ${count(crash.limit)}`, "n"), cell(missing(crash), crash.refused || crash.lost ? "bad" : null)))
    .concat(headerRow(step["crash-header"])));
}

/** The header of the crash kernel that is loaded. */
function headerRow(header) {
  if (!header) return [];
  const gone = header.gone ? `; ${size(header.gone)} too much, harmless` : "";
  return [el("tr", {}, rowHead(`in memory (${header.syscall}${header.kept ? ", kept up to date" : ""})`), cell(count(header.ranges), "n"), cell(""),
    cell(size(header.size), "n"), cell(""), cell((header.missing ? size(header.missing) : "nothing") + gone, header.missing ? "bad" : null))];
}

/** Where the two recordings part: in this step, and a way to the other steps where they do. */
function differenceList(current, goTo) {
  const steps = Object.keys(data.differences).map(Number), here = data.differences[current];
  if (!steps.length) return [el("p", {}, "Nowhere, as far as anybody can predict: requests, listing, sizes, memory blocks and zones are the same after every step.")];
  const links = steps.map((step) => el("button", { type: "button", "aria-pressed": String(step === current), click: () => goTo(step) }, String(step)));
  return [el("div", { class: "controls" }, "Steps with differences: ", links), here ? differenceTable(here) : el("p", { class: "muted" }, "Not in this step.")];
}

function differenceTable({ times, shown }) {
  const caption = `A and B differ in ${plural(times, "place")} after this step${times > shown.length ? "; here is the first of each kind" : ""}`;
  return table("Differences", [["What"], ["A"], ["B"]],
    shown.map(([what, a, b]) => el("tr", {}, rowHead(what), cell(a, "mono"), cell(b, "mono"))), caption);
}
