// The step that is shown: its name, what came of it, its numbers.

/** What belongs to the step alone: its name, the numbers, the changes, the zones. */
function renderStep() {
  find("slider").value = state.step;
  const step = data.recordings.map((r) => r.step(state.step)).find(Boolean);
  find("slider").setAttribute("aria-valuetext", `step ${state.step}: ${step.title}`);
  find("now").replaceChildren(el("strong", {}, `Step ${state.step} of ${lastStep}: ${step.title} `), ...data.recordings.map(outcome));
  find("tiles").replaceChildren(...data.recordings.map((r) => tiles(r, r.step(state.step))).filter(Boolean));
  find("reasons-section").hidden = !data.recordings.some((r) => r.step(state.step)?.["held-up"]?.length);
  find("reasons").replaceChildren(...perRecording(reasonList));
  find("changes").replaceChildren(...perRecording((_, own) => changeList(own, state.step === 0)));
  find("zones").replaceChildren(...perRecording((recording) => zoneTable(recording, state.step)));
  find("crash").replaceChildren(...perRecording(crashTable));
  find("differences")?.replaceChildren(...differenceList(state.step, goTo));
  for (const row of document.querySelectorAll("tr[data-step]")) {
    row.classList.toggle("differs", row.dataset.step in data.differences);
    if (Number(row.dataset.step) === state.step) row.setAttribute("aria-current", "step"); else row.removeAttribute("aria-current");
  }
  find("first").disabled = find("previous").disabled = state.step === 0;
  find("next").disabled = find("last").disabled = state.step === lastStep;
}

/** A badge: settled, stopped short, refused, with what is known of why. */
function outcome(recording) {
  const step = recording.step(state.step);
  const tag = recording.label ? [el("b", { class: "tag" }, recording.label), " "] : [];
  if (!step) return el("span", {}, ...tag, el("span", { class: "badge" }, "no such step"), " ");
  if (step.settled === null) return el("span"); // nothing was done yet
  const [cls, word] = step.error ? ["bad", `refused: ${step.error}`] : step.settled ? ["", "settled"] : ["bad", "stopped short"];
  return el("span", {}, ...tag, el("span", { class: `badge ${cls}` }, word), step.retry ? ` ${step.retry} ` : " ");
}

/** Why a step stopped short, a line each. */
function reasonList(recording, step) {
  if (!step) return noSuchStep();
  const reasons = step["held-up"] ?? [];
  return reasons.length ? el("ul", { class: "reasons" }, reasons.map((reason) => el("li", {}, reason))) : el("p", { class: "muted" }, "Nothing holds a device up.");
}

/** The step in numbers. */
function tiles(recording, step) {
  if (!step) return null;
  const label = recording.label && recording.label + " ";
  const requests = step.requests.reduce((sum, run) => sum + run[6], 0);
  const blocks = (state) => step.blocks.reduce((sum, run) => sum + (run.state === state ? run.times : 0), 0);
  const { ram, merged, unmerged } = step.facts;
  return el("dl", { class: "tiles" }, step.devices.map((device) => (device.type === "dimm" ? dimmTile : deviceTile)(label, device)),
    tile("System RAM resources", count(ram), small(`${count(merged)} with merging, ${count(unmerged)} without`)),
    tile("Memory blocks online", count(blocks("online")), small(blocks("offline") ? `${count(blocks("offline"))} offline` : "none offline")),
    tile("Requests in this step", count(requests)), step.uses.map(([id, bytes, kind]) => tile(`${label}in use by ${id}`, size(bytes), small(kind))));
}

const tile = (term, value, ...more) => el("div", {}, el("dt", {}, term), el("dd", {}, value, ...more));
const small = (text) => el("small", {}, text);

function deviceTile(label, device) {
  const [plugged, requested, most] = [device.size, device["requested-size"], device["max-size"]];
  const meter = el("meter", { min: 0, max: most, value: plugged, "aria-label": `${device.id}: plugged ${size(plugged)} of at most ${size(most)}` });
  return tile(`${label}${device.id}: plugged of requested`, `${size(plugged)} of ${size(requested)}`, meter,
    small(`of at most ${size(most)}, in blocks of ${size(device["block-size"])}, node ${device.node}`));
}

const dimmTile = (label, device) => tile(`${label}${device.id}: DIMM`, size(device.size), small(`at 0x${device.addr.toString(16)}, node ${device.node}`));
