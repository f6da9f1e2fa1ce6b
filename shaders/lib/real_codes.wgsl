// Real weights in f16 from the codes of complex ones. Refers to the kernel's cells, TERMS, LEVELS, WIDTH, cell_of and
// TABLE_ENTRIES (SHARE of each row that has tables); needs a codes_T.wgsl.

const SHARE = 32u;        // entries of a row's tables: 16 for U, 16 for W
const LIFT = 64.0;        // keeps small weights normal in f16
const FOURTHS = 0x03030303u;
const HALVES_OF_BYTES = 0x0f0f0f0fu;

var<workgroup> tables: array<vec2<f16>, TABLE_ENTRIES>; // [rows, SHARE]: (re, im) of the stages' sum

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
    for (var i = index; i < TABLE_ENTRIES; i += WIDTH) {
        let cell = cell_of(first_row + i / SHARE) * (1u + TERMS * 2u);
        let w = i % SHARE / 16u * (TERMS / 2u);
        var sum = weight_of(i % 4u, cell, w);
        if TERMS == 4u {
            sum += weight_of(i / 4u % 4u, cell, w + 1u);
        }
        tables[i] = vec2<f16>(sum * LIFT);
    }
}

// indices into U's (0) or W's (1) table for columns 4 `four` to 4 `four` + 3 of a code word, a byte each
fn indices(c: Codes, w: u32, four: u32) -> u32 {
    if TERMS == 2u {
        return (word(c, w) >> (2u * four)) & FOURTHS;
    }
    return (word(c, four) >> (4u * w)) & HALVES_OF_BYTES;
}

// four columns of a complex row as the real block (R11 R12; R21 R22)
struct Block {
    r11: vec4<f16>,
    r12: vec4<f16>,
    r21: vec4<f16>,
    r22: vec4<f16>,
}

// columns 4 `four` to 4 `four` + 3 of a code word, by the tables of row `row` of those that have some
fn block_of(c: Codes, row: u32, four: u32) -> Block {
    let u = indices(c, 0u, four);
    let w = indices(c, 1u, four);
    var a: array<vec2<f16>, 4>;
    var b: array<vec2<f16>, 4>;
    for (var j = 0u; j < 4u; j++) {
        let s = tables[row * SHARE + ((u >> (8u * j)) & 15u)];
        let d = tables[row * SHARE + 16u + ((w >> (8u * j)) & 15u)];
        a[j] = s + d;                           // R11, R21
        b[j] = vec2(d.y, s.x) - vec2(s.y, d.x); // R12, R22
    }
    return Block(
        vec4(a[0].x, a[1].x, a[2].x, a[3].x),
        vec4(b[0].x, b[1].x, b[2].x, b[3].x),
        vec4(a[0].y, a[1].y, a[2].y, a[3].y),
        vec4(b[0].y, b[1].y, b[2].y, b[3].y),
    );
}
