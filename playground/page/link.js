// Scenarios in the address of the page: behind the #, which no browser sends to a server.

const MOST = 4 << 20; // bytes; twice as long as a scenario may be

async function through(stream, bytes) {
  const chunks = [];
  let length = 0;
  for (const reader = new Blob([bytes]).stream().pipeThrough(stream).getReader(); ;) {
    const { done, value } = await reader.read();
    if (done) return new Blob(chunks).arrayBuffer().then((buffer) => new Uint8Array(buffer));
    chunks.push(value);
    if ((length += value.length) > MOST) throw new RangeError("too long");
  }
}

// `variants`: [{ name, text }], one to play, two to compare.
export async function toFragment(variants) {
  const text = JSON.stringify(variants.map(({ name, text }) => [name, text]));
  const packed = await through(new CompressionStream("deflate-raw"), new TextEncoder().encode(text));
  const base64 = btoa(Array.from(packed, (byte) => String.fromCharCode(byte)).join(""));
  return `#${variants.length === 2 ? "compare" : "play"}=${base64.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "")}`;
}

// What a fragment says: { tab, example } or { tab, variants }, { tab, damaged } where it cannot be read; null for no words of ours.
export async function fromFragment(fragment) {
  const [, key, value = ""] = /^#(\w+)(?:=(.*))?$/.exec(fragment) ?? [];
  if (!value) return ["play", "compare", "look"].includes(key) ? { tab: key } : null;
  if (!["example", "play", "compare"].includes(key)) return null;
  try {
    if (key === "example") return { tab: "play", example: decodeURIComponent(value) };
    const packed = Uint8Array.from(atob(value.replaceAll("-", "+").replaceAll("_", "/")), (character) => character.charCodeAt(0));
    const bytes = await through(new DecompressionStream("deflate-raw"), packed);
    const variants = JSON.parse(new TextDecoder().decode(bytes)).map(([name, text]) => ({ name: String(name), text: String(text) }));
    return variants.length === (key === "compare" ? 2 : 1) ? { tab: key, variants } : null;
  } catch {
    return { tab: key === "compare" ? key : "play", damaged: true };
  }
}
