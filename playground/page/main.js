// The page: three tabs, one engine.

import { find, make, read, sized } from "./dom.js";
import { Editor } from "./editor.js";
import { Engine, LIMIT, Stopped } from "./engine.js";
import { fromFragment, toFragment } from "./link.js";
import { Results } from "./results.js";

const TABS = ["play", "compare", "look"];
const FIRST = { play: ["shrink-and-split"], compare: ["worked-example/before", "worked-example/after"] };
const [facts, examples, choices] = ["facts", "examples", "choices"].map(read);

const status = find("#status"), progress = find("#progress");
let offline = false;

const engine = new Engine(facts, (state, done, total) => {
  document.body.dataset.engine = state;
  for (const button of document.querySelectorAll(".run")) button.disabled = state !== "ready";
  progress.value = state === "loading" ? done / total : 1;
  if (state === "loading") status.textContent = done && done < total ? `Loading the engine: ${sized(done)} of ${sized(total)}` : "Starting the engine …";
  if (state === "failed") status.textContent = `The engine cannot be started: ${done}`;
  if (state === "ready") ready();
});

async function ready() {
  status.textContent = `Ready${offline ? "; works without a network from now on" : ""}.`;
  if (offline || !navigator.serviceWorker) return;
  offline = true;
  await navigator.serviceWorker.register("sw.js").then(() => navigator.serviceWorker.ready).then(
    () => { status.textContent = "Ready; works without a network from now on."; },
    () => { offline = false; },
  );
  document.body.dataset.kept = String(offline);
}

// One tab with buttons: what it asks of the engine, and where the answer goes.
function desk(tab, ask) {
  const place = find(`#${tab}`);
  const results = new Results(find(".results", place));
  const run = find(".run", place), stop = find(".stop", place);
  find(".limits", place).textContent = `A run may take ${LIMIT.seconds} s and ${LIMIT.bytes >> 20} MiB of memory; nothing that you typed is lost when it is ended.`;
  stop.onclick = () => engine.stop("stopped");
  run.onclick = async () => {
    run.disabled = true;
    stop.disabled = false;
    place.dataset.state = "running";
    try {
      results.show(await ask(results));
    } catch (error) {
      results.say(error instanceof Stopped ? error.message : `the engine failed: ${error.message}`);
    }
    place.dataset.state = "done";
    stop.disabled = true;
    run.disabled = document.body.dataset.engine !== "ready";
  };
  place.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !run.disabled) run.click();
  });
  return place;
}

function scenarios(tab) {
  const place = desk(tab, (results) => {
    const files = Object.fromEntries(named().map(({ name, text }) => [name, text]));
    const names = Object.keys(files);
    results.begin(`virtiomem run ${names.join(" ")}${names.length === 1 ? " --record recording.json" : ""}`);
    return engine.call("play", files, (text) => results.print(text));
  });
  const places = [...place.querySelectorAll(".variant")];
  const check = (text) => engine.call("check", text);
  const editors = places.map((each, index) =>
    new Editor(each, { examples, choices, check, label: places.length > 1 ? `Scenario ${"AB"[index]}` : "Scenario" }));
  // Two files of one name would be one file.
  function named() {
    const variants = editors.map(({ name, text }) => ({ name, text }));
    const same = variants.length > 1 && variants[0].name === variants[1].name;
    return same ? variants.map(({ text }, index) => ({ name: `${"ab"[index]}.toml`, text })) : variants;
  }
  const link = find(".link", place);
  link.onclick = async () => {
    history.replaceState(null, "", await toFragment(named()));
    const copied = await navigator.clipboard?.writeText(location.href).then(() => true, () => false);
    link.textContent = copied ? "Link copied" : "The link is in the address bar";
    setTimeout(() => { link.textContent = "Copy link"; }, 3000);
  };
  FIRST[tab].forEach((name, index) => editors[index].open(name));
  return editors;
}

function looking() {
  const area = find("#listing"), chosen = find("#file");
  let given = null; // the bytes of a file; what is pasted is text
  const place = desk("look", (results) => {
    results.begin("virtiomem read …");
    return engine.call("look", given ?? { name: "listing.txt", content: new TextEncoder().encode(area.value) });
  });
  async function take(file) {
    given = { name: file.name, content: new Uint8Array(await file.arrayBuffer()) };
    area.value = new TextDecoder().decode(given.content.subarray(0, 200000));
    if (document.body.dataset.engine === "ready") find(".run", place).click();
  }
  area.oninput = () => { given = null; };
  chosen.onchange = () => chosen.files[0] && take(chosen.files[0]);
  place.ondragover = (event) => event.preventDefault();
  place.ondrop = (event) => {
    event.preventDefault();
    if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
  };
  find("#sample").onclick = () => {
    given = null;
    area.value = SAMPLE;
    if (document.body.dataset.engine === "ready") find(".run", place).click();
  };
}

// As it might come in a mail: quoted, and with a line left out.
const SAMPLE = `> 00001000-0009fbff : System RAM
> 00100000-7ffd9fff : System RAM
>   1a000000-1b0023ff : Kernel code
> [...]
> 100000000-17fffffff : System RAM
> 180000000-37fffffff : virtio0
>   180000000-187ffffff : System RAM (virtio_mem)
>   188000000-18fffffff : System RAM (virtio_mem)
>   190000000-197ffffff : System RAM (virtio_mem)
`;

function choose(tab, { focus = false } = {}) {
  for (const name of TABS) {
    const button = find(`#tab-${name}`);
    button.ariaSelected = String(name === tab);
    button.tabIndex = name === tab ? 0 : -1;
    find(`#${name}`).hidden = name !== tab;
  }
  if (focus) find(`#tab-${tab}`).focus();
}

const editors = { play: scenarios("play"), compare: scenarios("compare") };
looking();

TABS.forEach((tab, index) => {
  const button = find(`#tab-${tab}`);
  button.onclick = () => choose(tab);
  button.onkeydown = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) choose(TABS[(index + step + TABS.length) % TABS.length], { focus: true });
  };
});

async function follow() {
  const told = await fromFragment(location.hash);
  if (!told) return;
  choose(told.tab);
  if (told.damaged) status.textContent = "The link is damaged: what it held cannot be read.";
  if (told.example && !editors.play[0].open(told.example)) status.textContent = `There is no example ${told.example}.`;
  told.variants?.forEach(({ name, text }, index) => editors[told.tab][index].set(text, name));
}

addEventListener("hashchange", follow);
follow();
