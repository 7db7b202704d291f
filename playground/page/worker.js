// The engine: Python, the packages and the library, in a worker of their own.

let python, calls;

// The parts of the page, from what is kept of an earlier visit, or else from the server and then kept.
async function part(address, cacheName) {
  const cache = self.caches ? await caches.open(cacheName).catch(() => null) : null;
  const kept = await cache?.match(address);
  if (kept) return kept;
  const response = await ask(address);
  if (!response.ok) throw new Error(`${address}: ${response.status} ${response.statusText}`);
  await cache?.put(address, response.clone()).catch(() => {}); // a full disk is no reason not to play
  return response;
}

const ask = self.fetch.bind(self);

async function start({ parts, engine, page, cache }, base, bytes) {
  let loaded = 0;
  const total = Object.values(parts).reduce((sum, size) => sum + size, 0);
  const counted = () => new TransformStream({
    transform(chunk, out) {
      loaded += chunk.length;
      postMessage({ loaded, total });
      out.enqueue(chunk);
    },
  });
  const unpacked = (name, type) =>
    part(base + name, cache).then(({ body }) =>
      new Response(body.pipeThrough(counted()).pipeThrough(new DecompressionStream("gzip")), { headers: { "Content-Type": type } }));
  limit(bytes);
  const zip = "application/zip";
  const asked = {
    "pyodide.asm.wasm": unpacked(`${engine}pyodide.asm.wasm.gz`, "application/wasm"),
    "python_stdlib.zip": unpacked(`${engine}python_stdlib.zip.gz`, zip),
  };
  const archives = [`${engine}packages.zip.gz`, `${page}virtiomem.zip.gz`].map((name) => unpacked(name, zip));
  // Pyodide asks for its two parts by name. It asks for nothing else, and later nobody may.
  self.fetch = (address) => asked[String(address).split("/").pop()] ?? Promise.reject(new Error(`nothing is fetched here: ${address}`));
  const { loadPyodide } = await import(`${base}${engine}pyodide.mjs`);
  python = await loadPyodide({
    indexURL: base + engine,
    lockFileContents: '{"info": {"abi_version": "2026_0"}, "packages": {}}',
    stdout: () => {},
    stderr: () => {},
  });
  for (const archive of archives) {
    const response = await archive;
    python.unpackArchive(await response.arrayBuffer(), "zip", { extractDir: "/library" });
  }
  python.runPython(`
import os, shutil, sys
sys.path.insert(0, "/library")
shutil.copytree("/library/playground/files", "playing")
os.chdir("playing")
`);
  calls = python.pyimport("playground.calls");
  calls.check("");
  postMessage({ ready: true });
}

// Let memory grow to so many bytes and no further: Python then raises MemoryError, and the command says so.
function limit(bytes) {
  const grow = WebAssembly.Memory.prototype.grow;
  WebAssembly.Memory.prototype.grow = function (pages) {
    if (this.buffer.byteLength + 65536 * pages > bytes) throw new RangeError("more memory than a run may have");
    return grow.call(this, pages);
  };
}

const OFTEN = 100; // milliseconds between two messages about what is printed

function answer({ id, what, given }) {
  try {
    let held = "", last = 0;
    const told = (text) => {
      held += text;
      if (performance.now() - last < OFTEN) return;
      postMessage({ id, output: held });
      held = "";
      last = performance.now();
    };
    const made = what === "look" ? calls.look(given.name, python.toPy(given.content))
      : what === "play" ? calls.play(JSON.stringify(given), told)
      : calls.check(given);
    postMessage({ id, answer: made, memory: python._module.HEAPU8.length });
  } catch (error) {
    postMessage({ id, failed: String(error.message ?? error).trim().split("\n").pop() });
  }
}

self.onmessage = async ({ data }) => {
  if (!data.start) return answer(data);
  try {
    await start(data.start, data.base, data.bytes);
  } catch (error) {
    postMessage({ unable: String(error.message ?? error) });
  }
};
