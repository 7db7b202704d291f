// Keeps the files of one version of the page, so that the next visit needs no network. Names say what is in a file, but for
// the page itself, which is asked for anew: a new version is complete before it takes over.

const CACHE = "{{ cache }}";
const FILES = {{ files }};

self.addEventListener("install", (event) => event.waitUntil(keep()));
self.addEventListener("activate", (event) => event.waitUntil(takeOver()));
self.addEventListener("fetch", (event) => {
  if (event.request.method === "GET") event.respondWith(kept(event.request));
});

async function keep() {
  const cache = await caches.open(CACHE);
  await Promise.all(FILES.map(async (file) => {
    if (file === "./") return cache.add(new Request(file, { cache: "no-cache" }));
    const here = await caches.match(file);
    return here ? cache.put(file, here) : cache.add(new Request(file, { cache: "force-cache" }));
  }));
}

async function takeOver() {
  for (const name of await caches.keys()) {
    if (name.startsWith("virtiomem-playground-") && name !== CACHE) await caches.delete(name);
  }
  await self.clients.claim();
}

async function kept(request) {
  const cache = await caches.open(CACHE);
  const here = await cache.match(request.mode === "navigate" ? "./" : request, { ignoreSearch: true });
  return here ?? fetch(request);
}
