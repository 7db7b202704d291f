// One state, one function that draws it, and what people do to change it.

const firstDifference = Math.min(...Object.keys(data.differences).map(Number));
const state = { step: Number.isFinite(firstDifference) ? firstDifference : 0, view: [0, 1], chosen: null, playing: 0 };

function render() {
  renderStep();
  renderMap();
  renderChart();
  renderRequests();
  renderListing();
}

const perRecording = (make) => data.recordings.map((recording) => {
  const content = make(recording, recording.step(state.step));
  return recording.label ? el("div", {}, el("h3", {}, el("b", { class: "tag" }, recording.label)), content) : content;
});

/** What belongs to the step alone: its name, the numbers, the changes, the zones. */
function renderStep() {
  find("slider").value = state.step;
  const step = data.recordings.map((r) => r.step(state.step)).find(Boolean);
  find("slider").setAttribute("aria-valuetext", `step ${state.step}: ${step.title}`);
  find("now").replaceChildren(el("strong", {}, `Step ${state.step} of ${lastStep}: ${step.title} `), ...data.recordings.map(outcome));
  find("tiles").replaceChildren(...data.recordings.map((r) => tiles(r, r.step(state.step))).filter(Boolean));
  find("changes").replaceChildren(...perRecording((_, own) => changeList(own)));
  find("zones").replaceChildren(...perRecording((recording) => zoneTable(recording, state.step)));
  find("crash").replaceChildren(...perRecording(crashTable));
  find("differences")?.replaceChildren(...differenceList(state.step, goTo));
  for (const row of document.querySelectorAll("tr[data-step]")) {
    row.classList.toggle("differs", row.dataset.step in data.differences);
    if (Number(row.dataset.step) === state.step) row.setAttribute("aria-current", "step"); else row.removeAttribute("aria-current");
  }
  for (const [id, off] of [["first", state.step === 0], ["previous", state.step === 0], ["next", state.step === lastStep], ["last", state.step === lastStep]]) find(id).disabled = off;
}

/** A badge: settled, stopped short, refused, with what is known of why. */
function outcome(recording) {
  const step = recording.step(state.step);
  const tag = recording.label ? [el("b", { class: "tag" }, recording.label), " "] : [];
  if (!step) return el("span", {}, ...tag, el("span", { class: "badge" }, "no such step"), " ");
  if (step.settled === null) return el("span"); // nothing was done yet
  const [cls, word] = step.error ? ["bad", `refused: ${step.error}`] : step.settled ? ["good", "settled"] : ["warn", "stopped short"];
  const why = [...(step["held-up"] ?? []), step["retry-in"] ? `the driver tries again in ${step["retry-in"]} s` : null].filter(Boolean).join("; ");
  return el("span", {}, ...tag, el("span", { class: `badge ${cls}` }, word), why ? ` ${why} ` : " ");
}

/** The step in numbers. */
function tiles(recording, step) {
  if (!step) return null;
  const tile = (term, value, ...small) => el("div", {}, el("dt", {}, term), el("dd", {}, value, ...small.map((text) => (typeof text === "string" ? el("small", {}, text) : text))));
  const devices = memDevices(step).map((device) => tile(`${recording.label} ${device.id}: plugged of requested`.trim(),
    `${size(device.size)} of ${size(device["requested-size"])}`,
    el("meter", { min: 0, max: device["max-size"], value: device.size, "aria-label": `${device.id}: plugged ${size(device.size)} of at most ${size(device["max-size"])}` }),
    `of at most ${size(device["max-size"])}, in blocks of ${size(device["block-size"])}, node ${device.node}`));
  const dimms = step.devices.filter((device) => device.type === "dimm").map((device) => tile(`${recording.label} ${device.id}: DIMM`.trim(), size(device.size), `at 0x${device.addr.toString(16)}, node ${device.node}`));
  const requests = step.requests.reduce((sum, run) => sum + run[6], 0);
  const states = (name) => step.blocks.filter((run) => run.state === name).reduce((sum, run) => sum + run.times, 0);
  const { ram, merged, unmerged } = step.facts;
  return el("dl", { class: "tiles" }, devices, dimms,
    tile("System RAM resources", count(ram), `${count(merged)} with merging, ${count(unmerged)} without`),
    tile("Memory blocks online", count(states("online")), states("offline") ? `${count(states("offline"))} offline` : "none offline"),
    tile("Requests in this step", count(requests)));
}

const drawn = { width: 0 };

function renderMap() {
  const width = find("map").clientWidth || 800;
  drawn.width = width;
  find("map").replaceChildren(...data.recordings.flatMap((recording) => {
    const step = recording.step(state.step);
    if (!step) return [];
    const svg = drawMap(recording, step, { view: state.view, width, chosen: state.chosen, differs: data.recordings.length > 1 ? differing(recording, step) : null });
    return recording.label ? [el("b", { class: "tag" }, recording.label), svg] : [svg];
  }));
  const [from, to] = state.view.map(addressAt);
  find("view").textContent = state.view[1] - state.view[0] < 0.999 ? `0x${hex(from)} – 0x${hex(to)}` : "";
}

function renderChart() {
  const width = find("chart").clientWidth || 800, byTime = find("by-time").checked;
  find("chart").replaceChildren(...data.recordings.flatMap((recording) => drawCharts(recording, Math.min(state.step, recording.steps.length - 1), width, byTime)));
}

function renderRequests() {
  const form = new FormData(find("filters"));
  const filters = { steps: form.get("steps"), type: form.get("type"), device: form.get("device"), answer: form.get("answer"), each: form.has("each") };
  find("requests").replaceChildren(...perRecording((recording) => requestTable(recording, state.step, filters)));
}

function renderListing() {
  const every = find("every-line").checked;
  find("listing").replaceChildren(...perRecording((recording, step) => listing(recording, step, { every, chosen: state.chosen, differs: differing(recording, step), choose })));
}

/** Of two recordings: the rows that the other one does not have in this step, by key. */
function differing(recording, step) {
  const other = data.recordings.find((r) => r !== recording)?.step(state.step);
  if (!other || !step) return new Set();
  const theirs = new Set(other.rows.map((row) => row.key));
  return new Set(step.rows.map((row) => row.key).filter((key) => !theirs.has(key)));
}

function goTo(step) {
  const to = Math.min(lastStep, Math.max(0, step));
  if (to === state.step) return;
  state.step = to;
  history.replaceState(null, "", `#step-${to}`);
  render();
}

/** Look at [from, to] of the axis, kept inside it and not narrower than a page on the screen can be. */
function look(from, to) {
  const wide = Math.min(1, Math.max(1e-12, to - from));
  const start = Math.min(1 - wide, Math.max(0, from));
  state.view = [start, start + wide];
  renderMap();
}

function zoom(factor, around = 0.5) {
  const [from, to] = state.view, wide = (to - from) * factor, at = from + around * (to - from);
  look(at - around * wide, at + (1 - around) * wide);
}

const pan = (share) => look(state.view[0] + share * (state.view[1] - state.view[0]), state.view[1] + share * (state.view[1] - state.view[0]));

/** Look at addresses with a little room around them. */
function lookAt(start, stop) {
  const from = place(start), to = place(stop), room = (to - from) * 0.08;
  look(from - room, to + room);
}

/** Mark a resource on map and listing, and say all about it; `zoomTo` moves the view there. */
function choose(key, recording, zoomTo = true) {
  const step = recording.step(state.step), row = step?.rows.find((r) => r.key === key);
  if (!row) return;
  state.chosen = key;
  const inside = step.rows.filter((r) => r.depth < row.depth && r.start <= row.start && row.stop <= r.stop).at(-1);
  const touching = step.blocks.filter((run) => run.state && run.first * recording["block-size"] < row.stop && (run.first + run.times) * recording["block-size"] > row.start);
  find("chosen").replaceChildren(el("strong", { class: "mono" }, `${row.range} : ${row.name}`),
    ` ${row.times > 1 ? `${count(row.times)} resources of ${size(row.size)}, together ` : ""}${size(row.size * row.times)}` +
    `${inside ? `, inside ${inside.name}` : ""}. ${touching.length ? touching.slice(0, 4).map(blockText).join("; ") + (touching.length > 4 ? "; …" : "") + "." : ""}`);
  if (zoomTo) lookAt(row.start, row.stop); else renderMap();
  renderListing();
}

/** The next or previous resource of the (first) recording, from the keyboard. */
function chooseNext(by) {
  const recording = data.recordings.find((r) => r.step(state.step)), rows = recording.step(state.step).rows;
  const at = rows.findIndex((row) => row.key === state.chosen);
  const row = rows[Math.min(rows.length - 1, Math.max(0, at + by))];
  if (!row) return;
  choose(row.key, recording, false);
  if (place(row.stop) < state.view[0] || place(row.start) > state.view[1]) lookAt(row.start, row.stop);
}

function play(on) {
  clearInterval(state.playing);
  state.playing = on ? setInterval(() => (state.step < lastStep ? goTo(state.step + 1) : play(false)), 1200) : 0;
  find("play").setAttribute("aria-pressed", String(Boolean(on)));
  find("play").textContent = on ? "Pause" : "Play";
  if (on && state.step === lastStep) goTo(0);
}

function wireSteps() {
  find("slider").addEventListener("input", (event) => goTo(Number(event.target.value)));
  for (const [id, to] of [["first", () => 0], ["previous", () => state.step - 1], ["next", () => state.step + 1], ["last", () => lastStep]]) {
    find(id).addEventListener("click", () => { play(false); goTo(to()); });
  }
  find("play").addEventListener("click", () => play(!state.playing));
  addEventListener("hashchange", fromAddress);
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.target.closest("input, select, button, a, .scroll, .listing, #map")) return;
    const act = { ArrowRight: () => goTo(state.step + 1), ArrowLeft: () => goTo(state.step - 1), Home: () => goTo(0), End: () => goTo(lastStep), " ": () => play(!state.playing) }[event.key];
    if (act) { event.preventDefault(); act(); }
  });
  for (const row of document.querySelectorAll("tr[data-step]")) row.addEventListener("click", () => goTo(Number(row.dataset.step)));
  find("chart").addEventListener("click", (event) => event.target.dataset.step && goTo(Number(event.target.dataset.step)));
}

function fromAddress() {
  const step = /^#step-(\d+)$/.exec(location.hash);
  if (step) goTo(Number(step[1]));
}

function wireMap() {
  const map = find("map");
  const buttons = { "zoom-in": () => zoom(0.5), "zoom-out": () => zoom(2), "pan-left": () => pan(-0.25), "pan-right": () => pan(0.25) };
  for (const [id, act] of Object.entries(buttons)) find(id).addEventListener("click", act);
  map.addEventListener("keydown", (event) => {
    const act = { "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), 0: () => look(0, 1), ArrowLeft: () => pan(-0.15), ArrowRight: () => pan(0.15),
      ArrowUp: () => chooseNext(-1), ArrowDown: () => chooseNext(1), Enter: zoomToChosen }[event.key];
    if (act && !event.ctrlKey && !event.altKey && !event.metaKey) { event.preventDefault(); act(); }
  });
  map.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    zoom(event.deltaY < 0 ? 0.8 : 1.25, (event.clientX - map.getBoundingClientRect().left) / map.clientWidth);
  }, { passive: false });
  map.addEventListener("click", (event) => { const hit = rowAt(event); if (hit && !drag?.moved) choose(hit.key, hit.recording, false); });
  map.addEventListener("dblclick", (event) => { const hit = rowAt(event); if (hit) choose(hit.key, hit.recording); });
  wireDrag(map);
  for (const [name, start, stop] of presets()) {
    find("presets").append(el("button", { type: "button", click: () => (start === null ? look(0, 1) : lookAt(start, stop)) }, name));
  }
  find("legend").replaceChildren(...legend());
}

let drag = null;

function wireDrag(map) {
  map.addEventListener("pointerdown", (event) => { drag = { x: event.clientX, view: state.view, moved: false, id: event.pointerId }; });
  map.addEventListener("pointermove", (event) => {
    if (!drag || !event.buttons) return;
    const share = (drag.x - event.clientX) / map.clientWidth;
    if (!drag.moved && Math.abs(drag.x - event.clientX) < 4) return;
    if (!drag.moved) { drag.moved = true; map.setPointerCapture(drag.id); map.classList.add("dragging"); }
    look(drag.view[0] + share * (drag.view[1] - drag.view[0]), drag.view[1] + share * (drag.view[1] - drag.view[0]));
  });
  for (const end of ["pointerup", "pointercancel"]) map.addEventListener(end, () => { map.classList.remove("dragging"); setTimeout(() => { drag = null; }); });
}

/** The resource whose box was hit, and the recording it is of. */
function rowAt(event) {
  const key = event.target.dataset?.key, svg = event.target.closest("svg");
  if (!key) return null;
  const shown = data.recordings.filter((r) => r.step(state.step));
  return { key, recording: shown[[...find("map").querySelectorAll("svg")].indexOf(svg)] };
}

function zoomToChosen() {
  for (const recording of data.recordings) {
    const row = recording.step(state.step)?.rows.find((r) => r.key === state.chosen);
    if (row) { lookAt(row.start, row.stop); return; }
  }
}

/** Places worth a button: everything, boot memory, each device. */
function presets() {
  const places = [["Everything", null, null]];
  const boot = data.recordings[0].steps[0].rows.filter((row) => row.kind === "RAM" && row.depth === 0);
  if (boot.length) places.push(["Boot RAM", boot[0].start, boot.at(-1).stop]);
  const devices = new Map(data.recordings.flatMap((r) => r.steps.flatMap((s) => memDevices(s).map((d) => [d.id, d]))));
  for (const [id, device] of devices) places.push([`Device ${id}`, device.memaddr, device.memaddr + device["max-size"]]);
  return places;
}

function wireTables() {
  const form = find("filters");
  const runs = data.recordings.flatMap((r) => r.steps.flatMap((step) => step.requests));
  for (const [name, i] of [["device", 0], ["type", 1], ["answer", 2]]) {
    for (const value of [...new Set(runs.map((run) => run[i]))].sort()) form.elements[name].append(el("option", { value }, value));
  }
  form.addEventListener("change", renderRequests);
  form.addEventListener("submit", (event) => event.preventDefault());
  find("every-line").addEventListener("change", renderListing);
  find("chart-controls").hidden = !data.recordings.every((r) => r.steps.slice(1).every((step) => typeof step.elapsed === "number"));
  find("by-time").addEventListener("change", renderChart);
}

for (const hidden of document.querySelectorAll("nav[hidden], section[hidden]")) hidden.hidden = false;
wireSteps();
wireMap();
wireTables();
fromAddress();
render();
new ResizeObserver(() => { if (find("map").clientWidth !== drawn.width) { renderMap(); renderChart(); } }).observe(find("map"));
