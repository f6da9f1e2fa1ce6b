// Reading four words at once of a buffer whose length is a multiple of four.
// Provides: words_load

@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;

// words 4 at to 4 at + 3
fn words_load(at: u32) -> vec4<u32> {
    return x[at];
}
