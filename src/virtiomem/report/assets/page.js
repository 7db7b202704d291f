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

const drawn = { width: 0 };

function renderMap() {
  const width = find("map").clientWidth || 800;
  drawn.width = width;
  find("map").replaceChildren(...data.recordings.flatMap((recording) => {
    const step = recording.step(state.step);
    if (!step) return [];
    const told = { width, chosen: state.chosen, differs: differing(recording, step) }, near = closer(recording, step, width);
    const maps = [drawMap(recording, step, { view: state.view, ...told })];
    if (near) maps.push(el("p", { class: "closer" }, "closer: what changed"), drawMap(recording, step, { view: near, ...told }));
    for (const map of maps) map.dataset.recording = data.recordings.indexOf(recording);
    return recording.label ? [el("b", { class: "tag" }, recording.label), ...maps] : maps;
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

function goTo(step) {
  const to = Math.min(lastStep, Math.max(0, step));
  if (to === state.step) return;
  state.step = to;
  history.replaceState(null, "", `#step-${to}`);
  render();
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
state.step = Math.max(0, data.recordings[0].steps.findIndex((step) => step["block-changes"].length));
fromAddress();
render();
new ResizeObserver(() => { if (find("map").clientWidth !== drawn.width) { renderMap(); renderChart(); } }).observe(find("map"));
