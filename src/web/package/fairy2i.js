// Two-bit language models in the browser: on WebGPU, or on the CPU by WebAssembly. See fairy2i.d.ts and README.md.
import { thrown } from "./errors.js";

/// A worker, and the calls that it has not answered yet.
class Engine {
  calls = new Map();
  last = 0;

  constructor() {
    this.worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    this.worker.onmessage = ({ data }) => {
      const call = this.calls.get(data.id);
      if (!call) return;
      if ("event" in data) return call.heard(data.event);
      this.calls.delete(data.id);
      if (data.error) call.reject(thrown(data.error));
      else call.resolve(data.result);
    };
    this.worker.onerror = (event) => this.end(`the worker failed: ${event.message ?? "it does not start"}`);
  }

  /// Calls the worker: its id, and the promise of its answer.
  call(call, what, heard = () => {}, transfer = []) {
    const id = ++this.last;
    const answer = new Promise((resolve, reject) => {
      if (!this.worker) return reject(thrown({ message: "the model is closed; load it again", code: 2 }));
      this.calls.set(id, { resolve, reject, heard });
      this.worker.postMessage({ id, call, ...what }, transfer);
    });
    return { id, answer };
  }

  end(why) {
    this.worker?.terminate();
    this.worker = undefined;
    for (const { reject } of this.calls.values()) reject(thrown({ message: why, code: 1 }));
    this.calls.clear();
  }
}

/// A model in a worker of its own.
class Model {
  #engine;

  constructor(engine, device, description) {
    this.#engine = engine;
    this.device = device;
    this.description = description;
  }

  generate(prompt, options = {}) {
    const { signal, ...rest } = options;
    return this.#text({ ...rest, prompt }, signal);
  }

  chat(messages, options = {}) {
    const { signal, ...rest } = options;
    return this.#text({ ...rest, messages }, signal);
  }

  close() {
    this.#engine.end("the model was closed");
  }

  /// An iterator of pieces. Whoever leaves it early stops the text.
  #text(options, signal) {
    const pieces = [];
    let wake = () => {};
    let ended = false;
    const { id, answer } = this.#engine.call("generate", { options }, (piece) => {
      pieces.push(piece);
      wake();
    });
    const stop = () => this.#engine.worker?.postMessage({ id, call: "stop" });
    if (signal?.aborted) stop();
    signal?.addEventListener("abort", stop);
    const end = () => {
      ended = true;
      signal?.removeEventListener("abort", stop);
      wake();
    };
    answer.then(end, end);
    async function* iterate() {
      try {
        for (;;) {
          while (pieces.length > 0) yield pieces.shift();
          if (ended) return await answer;
          await new Promise((resolve) => (wake = resolve));
        }
      } finally {
        if (!ended) stop();
      }
    }
    return Object.assign(iterate(), { summary: answer });
  }
}

async function open(options) {
  const engine = new Engine();
  try {
    return [engine, await engine.call("open", { options }).answer];
  } catch (error) {
    engine.end("the device did not open");
    throw error;
  }
}

export async function load(options = {}) {
  const { device = "auto", plain = false, files, url, name, onProgress, onDevice, ...rest } = options;
  const [engine, facts] = await open({ device, plain });
  onDevice?.(facts);
  try {
    const called = name ?? (files || url ? (url ?? "files") : "builtin");
    // the worker would take an address for one beside itself
    const address = url && new URL(url, document.baseURI).href;
    const what = { name: called, files: files && [...files], url: address, options: rest };
    const description = await engine.call("load", what, onProgress).answer;
    return new Model(engine, facts, description);
  } catch (error) {
    engine.end("the model did not load");
    throw error;
  }
}

export async function check(options = {}) {
  const { device = "gpu", plain = false, onRow, onDevice, signal } = options;
  const [engine, facts] = await open({ device, plain, check: true });
  onDevice?.(facts);
  const rows = [];
  const stop = () => engine.end("the check was stopped");
  signal?.addEventListener("abort", stop);
  try {
    await engine.call("check", {}, (row) => {
      rows.push(row);
      onRow?.(row);
    }).answer;
  } finally {
    engine.end("the check has ended");
  }
  return { device: facts, rows };
}
