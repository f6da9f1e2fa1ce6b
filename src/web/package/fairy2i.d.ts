/** Where a model runs, and what the browser tells of it. */
export interface DeviceFacts {
  backend: "webgpu" | "cpu";
  name: string;
  /** Why a GPU was passed over, if one was. */
  passedOver: string[];
  adapter: {
    name: string;
    /** Whether the adapter is software: then `auto` takes the CPU backend, which is faster. */
    software: boolean;
    features: string[];
    binding: string;
    buffer: string;
    workgroupMemory: string;
    invocations: number;
    subgroupSize: number;
  } | null;
  /** Whether the CPU backend was built with vector instructions. */
  simd: boolean;
  version: string;
}

/** Errors have the exit code of the program: 2 for bad input, 3 for the device, 1 otherwise. */
export interface EngineError extends Error {
  code: 1 | 2 | 3;
}

export interface Progress {
  done: number;
  /** 0 where it is not known. */
  total: number;
  /** A file, counted in bytes, or a layer. */
  what: string;
}

export interface LoadOptions {
  /** `auto` (the default) is a real GPU, or else the CPU; `gpu` takes software adapters as well. */
  device?: "auto" | "gpu" | "cpu";
  /** Use only what every browser has: no optional features, bindings of 128 MiB. */
  plain?: boolean;
  /** The files of a model's folder, or one .gguf file. */
  files?: Iterable<File | [name: string, content: Blob]>;
  /** The address of a model's folder or of a .gguf file; what was fetched stays in the browser's private files. */
  url?: string;
  /** What the model is called in messages. */
  name?: string;
  activations?: "int16" | "int8" | "float";
  /** Most tokens of a prompt and its continuation together. */
  context?: number;
  /** How many first stages of the weights are read. */
  stages?: number;
  allowNonfinite?: boolean;
  onDevice?: (facts: DeviceFacts) => void;
  onProgress?: (progress: Progress) => void;
}

/** What is left out is as in the program: temperature 0.8, top-k 40, top-p 0.95, min-p 0.05, 128 tokens, seed 0. */
export interface TextOptions {
  maxTokens?: number;
  stop?: string[];
  /** 0 takes the most likely token. */
  temperature?: number;
  topK?: number;
  topP?: number;
  minP?: number;
  repetitionPenalty?: number;
  presencePenalty?: number;
  frequencyPenalty?: number;
  seed?: number;
  /** Ends the text; its iterator ends as if the text had. */
  signal?: AbortSignal;
}

export interface Piece {
  /** Id of the token. */
  id: number;
  /** The text that became certain with it, which may be empty. */
  text: string;
}

export interface Summary {
  finish: "length" | "eos" | "stop" | "stopped";
  ids: number[];
  promptTokens: number;
  cachedTokens: number;
  newTokens: number;
  prepareSeconds: number;
  firstTokenSeconds: number;
  tokensPerSecond: number | null;
}

/** Pieces of text as they come. Leaving the loop early stops the text. */
export interface Text extends AsyncGenerator<Piece, Summary, void> {
  /** Why the text ended, and how long it took. */
  summary: Promise<Summary>;
}

export interface Message {
  role: string;
  content: string;
}

export interface ModelDescription {
  name: string;
  parameters: string;
  recipe: string | null;
  context: number;
  chat: boolean;
  /** What was ignored in its files. */
  notes: string[];
}

/** A model in a worker of its own. Texts that are asked for together come one after the other. */
export interface Model {
  readonly device: DeviceFacts;
  readonly description: ModelDescription;
  generate(prompt: string, options?: TextOptions): Text;
  /** The answer to a conversation; what it has in common with the one before is not computed again. */
  chat(messages: Message[], options?: TextOptions): Text;
  /** Ends the worker and frees its memory. */
  close(): void;
}

/** The model inside, or the one of `files` or `url`. */
export function load(options?: LoadOptions): Promise<Model>;

export interface CheckRow {
  op: string;
  /** The kernel that ran, or `host`; `null` where the device has none. */
  kernel: string | null;
  /** How closely results must agree. */
  promised: string;
  cases: number;
  runs: boolean;
  failure: string | null;
}

export interface CheckOptions {
  device?: "auto" | "gpu" | "cpu";
  plain?: boolean;
  onDevice?: (facts: DeviceFacts) => void;
  onRow?: (row: CheckRow) => void;
  signal?: AbortSignal;
}

/** Runs every operation's test cases on a device, and compares the results with the reference. */
export function check(options?: CheckOptions): Promise<{ device: DeviceFacts; rows: CheckRow[] }>;
