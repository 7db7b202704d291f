// Elements, and the files that a visitor keeps.

export const find = (selector, inside = document) => inside.querySelector(selector);

export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

export const read = (id) => JSON.parse(find(`#${id}`).textContent);

const TYPES = { json: "application/json", html: "text/html", svg: "image/svg+xml" };

export function blobOf(name, text) {
  return URL.createObjectURL(new Blob([text], { type: `${TYPES[name.split(".").pop()] ?? "text/plain"};charset=utf-8` }));
}

export function sized(bytes) {
  return bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
