// What of the map is in view, and which resource is chosen: with buttons, mouse, touch and keyboard.

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

function pan(share, [from, to] = state.view) {
  look(from + share * (to - from), to + share * (to - from));
}

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
  find("chosen").replaceChildren(el("strong", { class: "mono" }, `${row.range} : ${row.name}`), " ", aboutRow(recording, step, row));
  if (zoomTo) lookAt(row.start, row.stop); else renderMap();
  renderListing();
}

function aboutRow(recording, step, row) {
  const bytes = recording["block-size"];
  const inside = step.rows.findLast((other) => other.depth < row.depth && other.start <= row.start && row.stop <= other.stop);
  const blocks = step.blocks.filter((run) => run.state && run.first * bytes < row.stop && (run.first + run.times) * bytes > row.start);
  const what = row.times > 1 ? `${count(row.times)} resources of ${size(row.size)}, together ${size(row.size * row.times)}` : size(row.size);
  const told = blocks.slice(0, 4).map(blockText).join("; ") + (blocks.length > 4 ? "; …" : "");
  return `${what}${inside ? `, inside ${inside.name}` : ""}. ${told && told + "."}`;
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
    pan(share, drag.view);
  });
  for (const end of ["pointerup", "pointercancel"]) map.addEventListener(end, () => { map.classList.remove("dragging"); setTimeout(() => { drag = null; }); });
}

/** The resource whose box was hit, and the recording it is of. */
function rowAt(event) {
  const key = event.target.dataset?.key, svg = event.target.closest("svg");
  if (!key) return null;
  return { key, recording: data.recordings[svg.dataset.recording] };
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
