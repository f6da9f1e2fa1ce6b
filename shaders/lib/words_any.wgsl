// Reading four words at once of a buffer of p.n words.
// Requires: p
// Provides: words_load

@group(0) @binding(1) var<storage, read> x: array<u32>;

// words 4 at to 4 at + 3, or 0 from p.n on
fn words_load(at: u32) -> vec4<u32> {
    let places = 4u * at + vec4(0u, 1u, 2u, 3u);
    let inside = min(places, vec4(p.n - 1u));
    let words = vec4(x[inside.x], x[inside.y], x[inside.z], x[inside.w]);
    return select(vec4(0u), words, places < vec4(p.n));
}
