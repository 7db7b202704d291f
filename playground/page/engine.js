// The engine as the page sees it: a worker that is started, asked, and ended when it takes too long.

export const LIMIT = { seconds: 60, bytes: 1 << 30 };
const RENEW = 1 << 29; // a worker that once had this much memory never gives it back: the next call gets a new one

export class Stopped extends Error {}

export class Engine {
  // `facts`: what the build says of the page's parts; `tell(state, done, total)`: loading, ready, failed.
  constructor(facts, tell) {
    this.facts = facts;
    this.tell = tell;
    this.waiting = new Map();
    this.calls = 0;
    this.start();
  }

  start() {
    // A worker made from a blob inherits the page's content security policy; one with an address of its own would not.
    const worker = new URL("worker.js", import.meta.url);
    const source = URL.createObjectURL(new Blob([`import ${JSON.stringify(worker.href)};`], { type: "text/javascript" }));
    this.worker = new Worker(source, { type: "module" });
    this.worker.onmessage = ({ data }) => this.hear(data);
    this.worker.onerror = (event) => this.tell("failed", event.message || "the engine cannot be loaded");
    this.tell("loading", 0, 1);
    this.ready = new Promise((resolve) => { this.isReady = resolve; });
    this.worker.postMessage({ start: this.facts, base: new URL("./", location.href).href, bytes: LIMIT.bytes });
  }

  hear(message) {
    if ("loaded" in message) this.tell("loading", message.loaded, message.total);
    else if (message.ready) {
      this.isReady();
      this.tell("ready");
    } else if (message.unable) this.tell("failed", message.unable);
    else {
      const call = this.waiting.get(message.id);
      if (!call) return;
      if ("output" in message) return call.output(message.output);
      this.end(message.id);
      if ("failed" in message) call.reject(new Error(message.failed));
      else call.resolve(JSON.parse(message.answer));
      if ("failed" in message || message.memory > RENEW) this.renew();
    }
  }

  // Ask for `what` (a function of calls.py); the answer comes as a promise, what is printed meanwhile through `output`.
  async call(what, given, output = () => {}) {
    await this.ready;
    const id = ++this.calls;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.stop(`stopped: it took more than ${LIMIT.seconds} s`), 1000 * LIMIT.seconds);
      this.waiting.set(id, { resolve, reject, output, timer });
      this.worker.postMessage({ id, what, given });
    });
  }

  end(id) {
    clearTimeout(this.waiting.get(id).timer);
    this.waiting.delete(id);
  }

  // End what runs, and whatever waits behind it; a new worker begins from the parts that are kept.
  stop(reason) {
    for (const [id, call] of [...this.waiting]) {
      this.end(id);
      call.reject(new Stopped(reason));
    }
    this.renew();
  }

  renew() {
    this.worker.terminate();
    this.start();
  }
}
