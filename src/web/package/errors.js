// Errors on their way from the worker: one line, and the exit code that the program would give them.

/// What went wrong, as plain data.
export function described(error) {
  // A panic leaves its words here before the engine stops for good.
  const panic = globalThis.fairy2iPanic;
  if (panic) return { message: `the engine failed: ${panic}; reload the page, and report this`, code: 1 };
  const message = error instanceof Error ? error.message : String(error);
  return { message: message || "an error without words", code: error?.code ?? 1 };
}

/// The same as an error to throw.
export function thrown({ message, code }) {
  return Object.assign(new Error(message), { code });
}
