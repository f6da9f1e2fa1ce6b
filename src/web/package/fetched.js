// Models by URL: fetched in ranges, kept in the browser's private files, and taken from there at the next visit.
import { thrown } from "./errors.js";

/// Bytes that are asked for at once: little enough to show progress, and to be lost when a connection breaks.
const RANGE = 8 << 20;
/// Attempts for a range.
const TRIES = 4;
/// Files of a model beside its tensors; those that it lacks are passed over.
const SMALL = [
  "generation_config.json",
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "chat_template.jinja",
];
const SINGLE = "model.safetensors";
const INDEX = "model.safetensors.index.json";

const fault = (url, what) => thrown({ message: `${url}: ${what}; check the address, and try again`, code: 2 });

/// The blobs of the model at `url`, the address of its folder or of a .gguf file, as [name, blob].
export async function fetched(url, progress) {
  const base = new URL(url, self.location.href);
  if (!/\.gguf$/i.test(base.pathname) && !base.pathname.endsWith("/")) base.pathname += "/";
  const store = await Store.open(base.href);
  const get = (name, optional) => file(store, new URL(name, base), name, optional, progress);
  if (!base.pathname.endsWith("/")) {
    const name = decodeURIComponent(base.pathname.split("/").at(-1));
    return [[name, await file(store, base, name, false, progress)]];
  }
  const files = [["config.json", await get("config.json", false)]];
  const add = async (name, optional) => {
    const blob = await get(name, optional);
    if (blob) files.push([name, blob]);
    return blob;
  };
  for (const name of SMALL) await add(name, true);
  const index = await add(INDEX, true);
  if (!index) {
    await add(SINGLE, false);
    return files;
  }
  let shards = [];
  try {
    shards = Object.values(JSON.parse(await index.text()).weight_map);
  } catch {
    return files; // the reader of the index says what is wrong with it
  }
  for (const shard of new Set(shards)) {
    if (typeof shard === "string" && !/[/\\:]/.test(shard)) await add(shard, true);
  }
  return files;
}

/// One file: what is there already, and the rest from the network.
async function file(store, url, name, optional, progress) {
  const kept = await store.whole(name);
  if (kept) return kept;
  const into = await store.part(name);
  try {
    let total = Infinity;
    while (into.size < total) {
      const answer = await range(url, into.size);
      if (optional && [403, 404].includes(answer.status)) return undefined;
      if (answer.status === 416 && into.size > 0) {
        into.restart(); // the file has become shorter since its beginning was fetched
        continue;
      }
      if (!answer.ok) throw fault(url, `the server answers ${answer.status}`);
      if (answer.status === 200) into.restart(); // a server that knows no ranges sends all of it
      total = answer.status === 206 ? rangeTotal(answer) : Number(answer.headers.get("content-length")) || Infinity;
      const begun = into.size;
      await take(answer, into, (size) => progress(size, Number.isFinite(total) ? total : 0, name));
      if (answer.status === 200) break;
      if (into.size === begun && total > begun) throw fault(url, "the server sends nothing");
    }
  } catch (error) {
    into.close();
    throw error;
  }
  return store.finish(name, into);
}

/// Asks for the bytes from `start` on; a connection that breaks is tried again.
async function range(url, start) {
  for (let attempt = 1; ; attempt++) {
    try {
      return await fetch(url, { headers: { Range: `bytes=${start}-${start + RANGE - 1}` } });
    } catch (error) {
      if (attempt === TRIES) throw fault(url, `cannot be fetched (${error.message})`);
      await new Promise((resolve) => setTimeout(resolve, 250 << attempt));
    }
  }
}

/// Bytes of the whole file, as an answer to a range tells them; servers may hide it from other origins.
function rangeTotal(answer) {
  const total = /\/(\d+)$/.exec(answer.headers.get("content-range") ?? "");
  if (total) return Number(total[1]);
  return Number(answer.headers.get("content-length")) < RANGE ? 0 : Infinity;
}

async function take(answer, into, progress) {
  if (answer.body === null) return;
  try {
    for (const reader = answer.body.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) return;
      into.write(value);
      progress(into.size);
    }
  } catch (error) {
    if (answer.status === 200) throw error;
    // what came of a range stays, and the next one begins behind it
  }
}

/// The files of one address in the browser's private file system, or in memory where there is none.
class Store {
  static async open(address) {
    try {
      const bytes = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(address)));
      const key = Array.from(bytes.subarray(0, 12), (byte) => byte.toString(16).padStart(2, "0")).join("");
      const root = await navigator.storage.getDirectory();
      const models = await root.getDirectoryHandle("models", { create: true });
      return new Store(await models.getDirectoryHandle(key, { create: true }));
    } catch {
      return new Store(null); // private windows have no such files
    }
  }

  constructor(folder) {
    this.folder = folder;
  }

  /// A file that was fetched whole.
  async whole(name) {
    try {
      return await (await this.folder.getFileHandle(name)).getFile();
    } catch {
      return undefined;
    }
  }

  /// What was fetched of a file, to be written on.
  async part(name) {
    if (this.folder === null) return new Memory();
    try {
      const handle = await this.folder.getFileHandle(name + ".part", { create: true });
      return new Part(handle, await handle.createSyncAccessHandle());
    } catch {
      return new Memory();
    }
  }

  async finish(name, part) {
    part.close();
    if (part instanceof Memory) return part.blob();
    await part.handle.move(name);
    return (await this.folder.getFileHandle(name)).getFile();
  }
}

class Part {
  constructor(handle, access) {
    this.handle = handle;
    this.access = access;
    this.size = access.getSize();
  }
  write(bytes) {
    const written = this.access.write(bytes, { at: this.size });
    if (written !== bytes.length) throw thrown({ message: "the browser has no room for the model; free some", code: 1 });
    this.size += written;
  }
  restart() {
    this.access.truncate(0);
    this.size = 0;
  }
  close() {
    this.access.close();
  }
}

class Memory {
  pieces = [];
  size = 0;
  write(bytes) {
    this.pieces.push(bytes);
    this.size += bytes.length;
  }
  restart() {
    this.pieces = [];
    this.size = 0;
  }
  close() {}
  blob() {
    return new Blob(this.pieces);
  }
}
