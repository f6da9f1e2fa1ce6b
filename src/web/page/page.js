// The page: what a person sees of the package, and nothing of its own that computes.
import { check, load } from "./package/fairy2i.js";

const $ = (id) => document.getElementById(id);
const asked = new URLSearchParams(location.search);
const options = $("options").elements;

/// The model that is loaded, or nothing; what loads or generates; the messages of the chat.
let model = null;
let stop = null;
let messages = [];
let source = asked.get("model") ? { url: asked.get("model") } : {};
/// Counts loads: an older one that ends late says nothing.
let loads = 0;

for (const name of ["device", "activations", "context", "temperature", "maxTokens", "seed"]) {
  if (asked.has(name)) options[name].value = asked.get(name);
}
const plain = asked.has("plain");

function show(doing, done, total) {
  $("status").hidden = false;
  $("doing").textContent = doing;
  if (total) [$("progress").max, $("progress").value] = [total, done];
  else $("progress").removeAttribute("value");
}

function fail(error) {
  $("status").hidden = true;
  $("fault-text").textContent = `error: ${error.message}`;
  $("fault").hidden = false;
}

const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;

function progressed({ done, total, what }) {
  const bytes = /\.\w+$/.test(what) && !/^model\./.test(what) || /\.(safetensors|gguf)$/.test(what);
  if (!bytes) return show(`Loading layer ${done} of ${total}`, done, total);
  show(`Fetching ${what}: ${megabytes(done)}${total ? ` of ${megabytes(total)}` : ""}`, done, total);
}

/// What the device is, in words, and why it is not a better one.
function facts(device) {
  const { adapter } = device;
  const pairs = [["Runs on", device.backend === "webgpu" ? "WebGPU" : "the CPU, by WebAssembly"]];
  if (device.backend === "cpu") {
    pairs.push(["Why", why(device)]);
    pairs.push(["Vector instructions", device.simd ? "SIMD128" : "none"]);
  }
  if (adapter) {
    pairs.push(["Adapter", adapter.name + (adapter.software ? " (software)" : "")]);
    pairs.push(["Features", adapter.features.join(", ") || "none beyond the standard's"]);
    pairs.push(["Largest binding", adapter.binding], ["Largest buffer", adapter.buffer]);
    pairs.push(["Workgroup memory", adapter.workgroupMemory], ["Invocations", String(adapter.invocations)]);
  }
  pairs.push(["Version", device.version], ["Browser", navigator.userAgent]);
  return pairs;
}

function why(device) {
  if (options.device.value === "cpu") return "it was chosen in the settings";
  if (device.passedOver.length) return device.passedOver.join("; ");
  if (!navigator.gpu) return "this browser has no WebGPU, or has it switched off";
  return "no GPU was offered that is faster than the CPU";
}

function list(dl, pairs) {
  dl.replaceChildren(...pairs.flatMap(([name, value]) => {
    const [dt, dd] = [document.createElement("dt"), document.createElement("dd")];
    [dt.textContent, dd.textContent] = [name, value];
    return [dt, dd];
  }));
}

async function start(from = source) {
  source = from;
  const mine = ++loads;
  model?.close();
  model = null;
  stop?.abort();
  messages = [];
  $("fault").hidden = true;
  $("send").disabled = true;
  $("facts").textContent = "";
  show("Starting");
  try {
    const loaded = await load({
      ...from,
      device: options.device.value,
      activations: options.activations.value,
      context: number("context"),
      plain,
      onDevice: (device) => mine === loads && list($("device"), facts(device)),
      onProgress: (progress) => mine === loads && progressed(progress),
    });
    if (mine !== loads) return loaded.close();
    model = loaded;
    const { device, description } = loaded;
    const backend = device.backend === "webgpu" ? "WebGPU" : `CPU (${why(device)})`;
    $("facts").textContent = `${description.name}, ${description.parameters.trim()} parameters, on ${backend}`;
    $("model-facts").textContent = `${description.name}: ${description.parameters.trim()} parameters, ` +
      `${description.recipe ?? "full precision"}, context ${description.context}` +
      description.notes.map((note) => `; ${note}`).join("");
    for (const radio of document.getElementsByName("mode")) {
      if (radio.value === "chat") radio.disabled = !description.chat;
    }
    $("status").hidden = true;
    $("send").disabled = false;
    document.body.dataset.ready = "";
  } catch (error) {
    if (mine === loads) fail(error);
  }
}

/// The number in a field of the settings; nothing where it is empty.
function number(name) {
  return options[name].value === "" ? undefined : Number(options[name].value);
}

function textOptions() {
  const all = {};
  for (const name of ["maxTokens", "temperature", "topK", "topP", "minP", "repetitionPenalty"]) all[name] = number(name);
  all.seed = number("seed") ?? crypto.getRandomValues(new Uint32Array(1))[0];
  if (options.stop.value !== "") all.stop = [options.stop.value];
  return all;
}

function turn(kind, text) {
  const element = document.createElement("article");
  element.className = `turn ${kind}`;
  element.textContent = text;
  $("log").append(element);
  element.scrollIntoView({ block: "end" });
  return element;
}

const mode = () => document.querySelector("[name=mode]:checked").value;

async function generate() {
  const text = $("input").value;
  if (!$("options").reportValidity()) return $("settings").showModal();
  stop = new AbortController();
  $("send").textContent = "Stop";
  $("log").setAttribute("aria-busy", "true"); // readers hear the text once it is whole
  const how = { ...textOptions(), signal: stop.signal };
  let answer;
  let pieces;
  if (mode() === "chat") {
    turn("user", text);
    messages.push({ role: "user", content: text });
    $("input").value = "";
    const system = options.system.value.trim();
    const all = system ? [{ role: "system", content: system }, ...messages] : messages;
    answer = turn("assistant", "");
    pieces = model.chat(all, how);
  } else {
    answer = turn("assistant", "");
    const prompt = document.createElement("span");
    prompt.className = "prompt";
    prompt.textContent = text;
    answer.append(prompt);
    pieces = model.generate(text, how);
  }
  const said = document.createElement("span");
  said.className = "said";
  answer.append(said);
  try {
    for await (const piece of pieces) {
      const atEnd = $("scroller").scrollHeight - $("scroller").scrollTop - $("scroller").clientHeight < 60;
      said.append(piece.text);
      if (atEnd) $("scroller").scrollTop = $("scroller").scrollHeight;
    }
    told(answer, await pieces.summary);
    if (mode() === "chat") messages.push({ role: "assistant", content: said.textContent });
  } catch (error) {
    if (mode() === "chat") messages.pop();
    // A lost device and a failed engine need a new worker; a request that makes no sense does not.
    fail(error);
    $("retry").hidden = error.code === 2;
  }
  stop = null;
  $("log").removeAttribute("aria-busy");
  $("send").textContent = "Go";
}

function told(answer, summary) {
  const stats = document.createElement("span");
  stats.className = "stats";
  const speed = summary.tokensPerSecond ? ` · ${summary.tokensPerSecond.toFixed(1)} tokens/s` : "";
  const ends = { length: "ended at the most new tokens", eos: "the model ended it", stop: "a stop string came", stopped: "stopped" };
  const first = summary.prepareSeconds + summary.firstTokenSeconds;
  stats.textContent = `${summary.newTokens} tokens${speed} · first after ${first.toFixed(2)} s · ${ends[summary.finish]}`;
  answer.append(stats);
  answer.dataset.ids = summary.ids.join(" ");
  $("scroller").scrollTop = $("scroller").scrollHeight;
}

$("ask").onsubmit = (event) => {
  event.preventDefault();
  if (stop) return stop.abort();
  if (!model) return;
  $("fault").hidden = true;
  generate();
};
$("input").onkeydown = (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("ask").requestSubmit();
  }
};
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !document.querySelector("dialog[open]")) stop?.abort();
});
$("clear").onclick = () => {
  stop?.abort();
  messages = [];
  $("log").replaceChildren();
  $("input").focus();
};
for (const radio of document.getElementsByName("mode")) {
  radio.onchange = () => {
    messages = [];
    $("input").value = radio.value === "chat" ? "" : $("input").value || "Once upon a time";
  };
}
$("retry").onclick = () => start();
$("reload").onclick = () => ($("settings").close(), start());
for (const name of ["model", "settings", "check"]) $(`open-${name}`).onclick = () => $(name).showModal();

// Models.

/// Loads the files, whose folder has this name.
function open(name, files) {
  $("model").close();
  if (files.length === 0) return fail(new Error(`${name || "the folder"} holds no files; choose the folder of a model`));
  start({ name: name || files[0].name, files });
}

const folderOf = (file) => (file.webkitRelativePath || "").split("/");

$("builtin").onclick = () => ($("model").close(), start({}));
$("pick-folder").onclick = () => $("folder").click();
$("pick-files").onclick = () => $("files").click();
$("folder").onchange = () => {
  const all = [...$("folder").files];
  // the files of the folder itself, not of those inside
  open(all[0] ? folderOf(all[0])[0] : "", all.filter((file) => folderOf(file).length === 2));
  $("folder").value = "";
};
$("files").onchange = () => {
  open("", [...$("files").files]);
  $("files").value = "";
};
$("fetch").onclick = () => {
  if (!$("url").value || !$("url").reportValidity()) return $("url").focus();
  $("model").close();
  start({ url: $("url").value });
};
$("url").onkeydown = (event) => {
  if (event.key === "Enter") {
    event.preventDefault();
    $("fetch").click();
  }
};
$("forget").onclick = async () => {
  try {
    await (await navigator.storage.getDirectory()).removeEntry("models", { recursive: true });
    $("forgot").textContent = "Forgotten.";
  } catch (error) {
    $("forgot").textContent = error.name === "NotFoundError" ? "There were none." : `Not forgotten: ${error.message}`;
  }
};

/// The files at the top of what was dropped, and its name.
async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
  const folder = entries.find((entry) => entry.isDirectory);
  const inside = [];
  if (folder) {
    const reader = folder.createReader();
    const read = () => new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    // readers hand out a hundred entries at a time
    for (let some = await read(); some.length > 0; some = await read()) inside.push(...some);
  }
  const files = (folder ? inside : entries).filter((entry) => entry.isFile);
  const opened = files.map((entry) => new Promise((resolve, reject) => entry.file(resolve, reject)));
  return [folder?.name ?? "", await Promise.all(opened)];
}

document.addEventListener("dragover", (event) => {
  if (![...event.dataTransfer.types].includes("Files")) return;
  event.preventDefault();
  document.body.classList.add("over");
});
document.addEventListener("dragleave", (event) => event.relatedTarget ?? document.body.classList.remove("over"));
document.addEventListener("drop", async (event) => {
  document.body.classList.remove("over");
  if (event.dataTransfer.files.length === 0) return;
  event.preventDefault();
  try {
    open(...(await dropped(event.dataTransfer)));
  } catch (error) {
    fail(error);
  }
});

// The check.

let table = "";

function row({ op, kernel, cases, promised, runs, failure }) {
  const result = failure ?? (runs ? "agrees" : "this device has no kernel");
  const cells = [op, kernel ?? "", String(cases), promised, result];
  table += `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |\n`;
  const tr = document.createElement("tr");
  tr.classList.toggle("failed", failure !== null);
  tr.append(...cells.map((cell) => Object.assign(document.createElement("td"), { textContent: cell })));
  $("rows").append(tr);
}

let checking = null;
$("run-check").onclick = async () => {
  if (checking) return checking.abort();
  checking = new AbortController();
  $("rows").replaceChildren();
  $("run-check").textContent = "Stop";
  $("copy-check").disabled = true;
  $("check-result").textContent = "Running";
  const head = "| operation | kernel | cases | promised | result |\n|---|---|---|---|---|\n";
  table = head;
  let count = 0;
  try {
    const { device, rows } = await check({
      device: $("check-device").value,
      plain,
      signal: checking.signal,
      onRow: (result) => {
        row(result);
        if (++count % 10 === 0) $("check-result").textContent = `Running: ${count} operations`;
      },
    });
    const run = rows.filter((result) => result.runs);
    const failed = run.filter((result) => result.failure !== null);
    const cases = run.reduce((sum, result) => sum + result.cases, 0);
    $("check-result").textContent = failed.length
      ? `${failed.length} of ${run.length} operations do not agree with the reference`
      : `${run.length} operations, ${cases} cases: every result agrees with the reference` +
        (run.length < rows.length ? `; ${rows.length - run.length} need more than this device has` : "");
    const lines = facts(device).map(([name, value]) => `- ${name}: ${value}`);
    table = `${lines.join("\n")}\n\n${$("check-result").textContent}\n\n${table}`;
    $("copy-check").disabled = false;
  } catch (error) {
    $("check-result").textContent = `error: ${error.message}`;
  }
  $("run-check").textContent = "Run";
  checking = null;
};
$("copy-check").onclick = async () => {
  await navigator.clipboard.writeText(table);
  $("check-result").textContent += " (copied)";
};

start();
