// The worker that owns the device: it answers the calls of fairy2i.js, one message for each, and tells events meanwhile.
import init, { Engine } from "./fairy2i_gpu.js";
import { described } from "./errors.js";
import { fetched } from "./fetched.js";

let engine;
// The calls that are to end early.
const stopped = new Set();

/// Resolves to whether the call is to end, once the messages that wait have been heard: every so often, since text on the
/// CPU is computed without a pause otherwise.
let heardAt = 0;
const channel = new MessageChannel();
const waiting = [];
channel.port1.onmessage = () => waiting.shift()();
function ended(id) {
  if (performance.now() - heardAt < 20) return stopped.has(id);
  return new Promise((resolve) => {
    waiting.push(() => {
      heardAt = performance.now();
      resolve(stopped.has(id));
    });
    channel.port2.postMessage(null);
  });
}

/// What the browser tells of its GPU, which need not be its name.
async function adapterName() {
  const adapter = await navigator.gpu.requestAdapter({ powerPreference: "high-performance" });
  const { vendor, architecture, device, description } = adapter?.info ?? {};
  return description || [vendor, architecture, device].filter(Boolean).join(" ");
}

const calls = {
  async open({ options }) {
    await init();
    engine = await Engine.open(JSON.stringify(options));
    const facts = JSON.parse(engine.facts());
    if (facts.adapter) facts.adapter.name = (await adapterName()) || facts.adapter.name;
    return facts;
  },
  async load({ name, files, url, options }, tell) {
    if (url) files = await fetched(url, (done, total, what) => tell({ done, total, what }));
    const pairs = (files ?? []).map((file) => (Array.isArray(file) ? file : [file.name, file]));
    let done = 0;
    const progress = (layer, total) => tell({ done: ++done, total, what: layer });
    return JSON.parse(await engine.load(name, pairs, JSON.stringify(options), progress));
  },
  async generate({ options }, tell, id) {
    const heard = (token, text) => {
      tell({ id: token, text });
      return ended(id);
    };
    return JSON.parse(await engine.generate(JSON.stringify(options), heard));
  },
  async check(_, tell) {
    await engine.check((row) => tell(JSON.parse(row)));
  },
};

async function answer(id, call, what) {
  try {
    const result = await calls[call](what, (event) => self.postMessage({ id, event }), id);
    self.postMessage({ id, result });
  } catch (error) {
    self.postMessage({ id, error: described(error) });
  }
  stopped.delete(id);
}

// One call after the other; those that are to end are told at once.
let last = Promise.resolve();
self.onmessage = ({ data: { id, call, ...what } }) => {
  if (call === "stop") stopped.add(id);
  else last = last.then(() => answer(id, call, what));
};
