// Dense products by cooperative matrices: the uniform block, the staging of factors, and where sums go.
// Requires: elem_high, elem_low, p, quad, tile_a, tile_b, y, ELEM, PITCH
// Provides: Params, coop_put_x, coop_put_w, coop_put_sums

struct Params {
    tokens: u32,     // those that count: x and y have whole tiles
    k: u32,
    outs: u32,
    y_stride: u32,
    out_offset: u32, // of the first output in y
    scale: f32,      // of the sums
}

override ACCUMULATE: bool = false;

const LARGEST = vec4(65504.0);

fn coop_put_x(row: u32, eight: u32, v: vec4<u32>) {
    let at = row * PITCH + 2u * eight;
    tile_a[at] = quad(v.x, v.y);
    tile_a[at + 1u] = quad(v.z, v.w);
}

fn coop_put_w(row: u32, eight: u32, v: vec4<u32>) {
    let at = row * PITCH + 2u * eight;
    if ELEM == 1u {
        tile_b[at] = quad(v.x, v.y);
        tile_b[at + 1u] = quad(v.z, v.w);
    } else {
        tile_b[at] = vec4<f16>(clamp(elem_low(v), -LARGEST, LARGEST));
        tile_b[at + 1u] = vec4<f16>(clamp(elem_high(v), -LARGEST, LARGEST));
    }
}

fn coop_put_sums(sums: coop_mat16x16<f32, C>, row: u32, column: u32) {
    let at = row * p.y_stride + column;
    let stride = p.y_stride;
    var result = sums * p.scale;
    if ACCUMULATE {
        let before = coopLoadT<coop_mat16x16<f32, C>>(&y[at], stride);
        result = result + before;
    }
    let sum = result;
    coopStoreT(sum, &y[at], stride);
}
