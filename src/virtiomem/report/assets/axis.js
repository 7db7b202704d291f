// Where an address stands: the axis runs from 0 to 1, folded stretches take a fixed share whatever their size.

const FOLD_SHARE = 0.035;

const axis = (() => {
  const pieces = data.axis.map(([start, stop, folded]) => ({ start: parseInt(start, 16), stop: parseInt(stop, 16), folded }));
  const folds = pieces.filter((piece) => piece.folded).length;
  const foldShare = folds === pieces.length ? 1 / folds : Math.min(FOLD_SHARE, 0.4 / Math.max(1, folds));
  const open = pieces.filter((piece) => !piece.folded).reduce((sum, piece) => sum + piece.stop - piece.start, 0);
  let at = 0;
  for (const piece of pieces) {
    piece.from = at;
    at += piece.folded ? foldShare : ((piece.stop - piece.start) / open) * (1 - foldShare * folds);
    piece.to = at;
  }
  return pieces;
})();

/** The place of an address on the axis, 0 to 1. */
function place(address) {
  let low = 0, high = axis.length - 1;
  if (high < 0) return 0;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (axis[middle].start <= address) low = middle; else high = middle - 1;
  }
  const piece = axis[low];
  const share = (address - piece.start) / (piece.stop - piece.start);
  return piece.from + Math.min(1, Math.max(0, share)) * (piece.to - piece.from);
}

/** The address at a place on the axis. */
function addressAt(where) {
  const piece = axis.findLast((p) => p.from <= where) ?? axis[0];
  if (!piece) return 0;
  return Math.round(piece.start + ((where - piece.from) / (piece.to - piece.from)) * (piece.stop - piece.start));
}

/** Addresses for ticks between two places, at least `gap` of the axis apart, roundest first come. */
function ticks(from, to, gap) {
  const found = [];
  for (const piece of axis) {
    const low = Math.max(piece.from, from), high = Math.min(piece.to, to);
    if (low >= high || (piece.folded && (high - low) < 8 * gap)) continue;
    const start = addressAt(low), stop = addressAt(high);
    const step = 2 ** Math.ceil(Math.log2(Math.max(1, ((stop - start) / (high - low)) * gap)));
    for (let a = Math.ceil(start / step) * step; a <= stop && found.length < 400; a += step) found.push(a);
  }
  return found.filter((a, i) => i === 0 || place(a) - place(found[i - 1]) >= gap * 0.8);
}
