// Requested and plugged size of each device over the steps, or over time where the recording knows it.

const CHART = 134, AXIS = 56, FOOT = 26;

/** A chart for each virtio-mem device. */
function drawCharts(recording, current, width, byTime) {
  const names = [...new Set(recording.steps.flatMap((step) => memDevices(step).map((device) => device.id)))];
  return names.map((name) => el("figure", { class: "chart" },
    el("h3", {}, recording.label ? el("b", { class: "tag" }, recording.label) : null, recording.label ? " " : "", name, " ",
      el("span", { class: "key" }, el("i", { class: "dashes" }), "requested ", el("i", { class: "solid" }), "plugged")),
    drawChart(recording, name, current, width, byTime)));
}

function drawChart(recording, name, current, width, byTime) {
  const at = recording.steps.map((step) => memDevices(step).find((device) => device.id === name) ?? null);
  const ends = endsOfSteps(recording, byTime);
  const most = Math.max(1, ...at.flatMap((device) => (device ? [device["requested-size"], device.size] : [])));
  const tall = CHART - FOOT, x = (t) => AXIS + (t / (ends[ends.length - 1] || 1)) * (width - AXIS - 8);
  const y = (bytes) => tall - (bytes / most) * (tall - 12);
  const svg = draw("svg", { viewBox: `0 0 ${width} ${CHART}`, height: CHART, role: "img", "aria-label": chartInWords(name, at) });
  for (const bytes of [0, most / 2, most]) {
    svg.append(draw("line", { x1: AXIS, x2: width - 8, y1: y(bytes), y2: y(bytes), class: "grid" }),
      draw("text", { x: AXIS - 6, y: y(bytes) + 4, "text-anchor": "end", class: "tick" }, size(bytes)));
  }
  svg.append(draw("rect", { x: x(ends[current - 1] ?? 0), y: 0, width: Math.max(3, x(ends[current] ?? 0) - x(ends[current - 1] ?? 0)), height: tall, class: "current" }));
  const [requested, plugged] = curves(recording, name, at, ends, x, y);
  svg.append(draw("path", { d: `${plugged}V${y(0)}H${x(0)}Z`, class: "filled", fill: looks.resources.VIRTIO_MEM.color }), draw("path", { d: plugged, class: "plugged" }), draw("path", { d: requested, class: "requested" }));
  const every = Math.ceil(recording.steps.length / Math.max(4, (width - AXIS) / 34));
  for (let step = 1; step < at.length; step++) {
    const left = x(ends[step - 1]), right = x(ends[step]);
    if (step % every === 0) svg.append(draw("text", { x: (left + right) / 2, y: CHART - 5, "text-anchor": "middle", class: "tick" }, String(step)));
    svg.append(draw("rect", { x: left, y: 0, width: Math.max(1, right - left), height: CHART, class: "hit", "data-step": step },
      draw("title", {}, `step ${step}: ${recording.steps[step].title}`)));
  }
  svg.append(draw("text", { x: AXIS - 6, y: CHART - 5, "text-anchor": "end", class: "tick" }, byTime ? "step (time)" : "step"));
  return svg;
}

/** When each step ends: its number, or the seconds that passed. */
function endsOfSteps(recording, byTime) {
  let sum = 0;
  return recording.steps.map((step, i) => (byTime ? (sum += i ? step.elapsed : 0) : i));
}

/** Paths of both curves; within a step, plugged follows the requests where they account for it. */
function curves(recording, name, at, ends, x, y) {
  let requested = `M${x(0)} ${y(at[0] ? at[0]["requested-size"] : 0)}`, plugged = `M${x(0)} ${y(at[0] ? at[0].size : 0)}`;
  for (let i = 1; i < at.length; i++) {
    const from = ends[i - 1], to = ends[i], trace = recording.steps[i].trace[name] ?? [];
    requested += `V${y(at[i] ? at[i]["requested-size"] : 0)}H${x(to)}`;
    const last = trace.length ? trace[trace.length - 1][0] : 0;
    for (const [n, bytes] of trace) plugged += `L${x(from + (last ? (n / last) * (to - from) * 0.6 : 0))} ${y(bytes)}`;
    plugged += trace.length ? `H${x(to)}` : `L${x(to)} ${y(at[i] ? at[i].size : 0)}`;
  }
  return [requested, plugged];
}

function chartInWords(name, at) {
  const sizes = at.map((device, i) => (device ? `${i}: ${size(device.size)} of ${size(device["requested-size"])}` : `${i}: absent`));
  return `${name}, plugged of requested after each step. ${sizes.join("; ")}.`;
}
