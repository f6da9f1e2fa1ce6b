// Real weights in f16 from the codes of complex ones. Refers to the kernel's p, codes, cells and tile_b; needs
// coop_tile.wgsl, stack.wgsl, a codes_T.wgsl.

const SHARE = 32u;        // entries of a row's tables: 16 for U, 16 for W
const LIFT = 64.0;        // keeps small weights normal in f16
const FOURTHS = 0x03030303u;

var<workgroup> tables: array<vec2<f16>, 2048>; // [64 rows, SHARE]: (re, im) of the stages' sum

fn scale_at(cell: u32, i: u32) -> f32 {
    let bits = cells[cell + 1u + i];
    if LEVELS == 0u {
        return bitcast<f32>(bits);
    }
    return f32(bits) * f32(LEVELS) * exp2(f32(i32(cells[cell])));
}

// the weight of a symbol: bit 0 the sign of re - im, bit 1 of re + im
fn weight_of(symbol: u32, cell: u32, term: u32) -> vec2<f32> {
    let sign = select(1.0, -1.0, (symbol & 2u) != 0u);
    if (symbol ^ (symbol >> 1u)) % 2u == 0u {
        return vec2(sign * scale_at(cell, 2u * term), 0.0);
    }
    return vec2(0.0, sign * scale_at(cell, 2u * term + 1u));
}

fn make_tables(index: u32, first_row: u32) {
    for (var i = index; i < 64u * SHARE; i += WIDTH) {
        let cell = place(p, first_row + i / SHARE).x * (1u + TERMS * 2u);
        let w = i % SHARE / 16u * (TERMS / 2u);
        var sum = weight_of(i % 4u, cell, w);
        if TERMS == 4u {
            sum += weight_of(i / 4u % 4u, cell, w + 1u);
        }
        tables[i] = vec2<f16>(sum * LIFT);
    }
}

// indices into a table for four columns, a byte each
fn indices(c: Codes, w: u32, shift: u32) -> u32 {
    if TERMS == 2u {
        return (term(c, w) >> shift) & FOURTHS;
    }
    return ((term(c, 2u * w) >> shift) & FOURTHS) | (((term(c, 2u * w + 1u) >> shift) & FOURTHS) << 2u);
}

// four columns of a complex row as real weights: the code word was loaded before
fn put_weights(index: u32, c: Codes) {
    let row = index / 8u;
    let column = index % 8u; // in fours: of two words, four each
    let u = indices(c, 0u, 2u * (column % 4u));
    let w = indices(c, 1u, 2u * (column % 4u));
    var a: array<vec2<f16>, 4>;
    var b: array<vec2<f16>, 4>;
    for (var j = 0u; j < 4u; j++) {
        let s = tables[row * SHARE + ((u >> (8u * j)) & 15u)];
        let d = tables[row * SHARE + 16u + ((w >> (8u * j)) & 15u)];
        a[j] = s + d;                // R11, R21
        b[j] = vec2(d.y, s.x) - vec2(s.y, d.x); // R12, R22
    }
    let at = row * PITCH + column;
    tile_b[at] = vec4(a[0].x, a[1].x, a[2].x, a[3].x);
    tile_b[at + 8u] = vec4(b[0].x, b[1].x, b[2].x, b[3].x);
    tile_b[at + 64u * PITCH] = vec4(a[0].y, a[1].y, a[2].y, a[3].y);
    tile_b[at + 64u * PITCH + 8u] = vec4(b[0].y, b[1].y, b[2].y, b[3].y);
}
