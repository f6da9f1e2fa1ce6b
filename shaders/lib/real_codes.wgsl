// Real weights in f16 from the codes of complex ones, by look-ups in tables of a row's weights.
// Requires: scale_block_of, scale_blocks, codes_word, Codes, LEVELS, PLANES, TABLE_ENTRIES, U_PLANES, WIDTH
// Provides: LIFT, Block, real_weight, real_make_tables, real_block

const SHARE = 32u;        // entries of a row's two tables: 16 for U and 16 for W; without U, 16 for every two planes
const LIFT = 64.0;        // keeps small weights normal in f16
const FOURTHS = 0x03030303u;
const HALVES_OF_BYTES = 0x0f0f0f0fu;

var<workgroup> tables: array<vec2<f16>, TABLE_ENTRIES>; // [rows, SHARE]: (re, im) of the sum of stages

fn real_scale(scale_block: u32, i: u32) -> f32 {
    let bits = scale_blocks[scale_block + 1u + i];
    if LEVELS == 0u {
        return bitcast<f32>(bits);
    }
    return f32(bits) * f32(LEVELS) * exp2(f32(i32(scale_blocks[scale_block])));
}

// The weight of a symbol: bit 0 is the sign of re - im, bit 1 that of re + im.
fn real_weight(symbol: u32, scale_block: u32, plane: u32) -> vec2<f32> {
    let sign = select(1.0, -1.0, (symbol & 2u) != 0u);
    if (symbol ^ (symbol >> 1u)) % 2u == 0u {
        return vec2(sign * real_scale(scale_block, 2u * plane), 0.0);
    }
    return vec2(0.0, sign * real_scale(scale_block, 2u * plane + 1u));
}

// Planes of a table: those of U or of W, at most two; without U two.
fn real_planes() -> u32 {
    return select(U_PLANES, 2u, U_PLANES == 0u);
}

fn real_make_tables(index: u32, first_row: u32) {
    for (var i = index; i < TABLE_ENTRIES; i += WIDTH) {
        let scale_block = scale_block_of(first_row + i / SHARE) * (1u + PLANES * 2u);
        let plane = i % SHARE / 16u * real_planes();
        var sum = vec2(0.0);
        if plane < PLANES {
            sum = real_weight(i % 4u, scale_block, plane);
        }
        if real_planes() == 2u && plane + 1u < PLANES {
            sum += real_weight(i / 4u % 4u, scale_block, plane + 1u);
        }
        tables[i] = vec2<f16>(sum * LIFT);
    }
}

// The indices into the first (w = 0) or second table (w = 1) for columns 4 * four to 4 * four + 3 of a code word, a byte each.
fn real_indices(c: Codes, w: u32, four: u32) -> u32 {
    if PLANES < 4u {
        let plane = w * real_planes();
        let indices = (codes_word(c, plane) >> (2u * four)) & FOURTHS;
        if PLANES > plane + 1u && real_planes() == 2u {
            return indices | (((codes_word(c, plane + 1u) >> (2u * four)) & FOURTHS) << 2u);
        }
        return indices;
    }
    return (codes_word(c, four) >> (4u * w)) & HALVES_OF_BYTES;
}

// Four columns of a complex row as the real block (R11 R12; R21 R22).
struct Block {
    r11: vec4<f16>,
    r12: vec4<f16>,
    r21: vec4<f16>,
    r22: vec4<f16>,
}

// Columns 4 * four to 4 * four + 3 of a code word, by the tables of `row`, counted among the rows that have tables.
fn real_block(c: Codes, row: u32, four: u32) -> Block {
    let u = real_indices(c, 0u, four);
    var w = 0u;
    if PLANES > 2u || U_PLANES > 0u {
        w = real_indices(c, 1u, four);
    }
    var a: array<vec2<f16>, 4>;
    var b: array<vec2<f16>, 4>;
    for (var j = 0u; j < 4u; j++) {
        let s = tables[row * SHARE + ((u >> (8u * j)) & 15u)];
        var d = vec2<f16>();
        if PLANES > 2u || U_PLANES > 0u {
            d = tables[row * SHARE + 16u + ((w >> (8u * j)) & 15u)];
        }
        a[j] = s + d;                               // R11, R21
        if U_PLANES == 0u {
            b[j] = vec2(a[j].y, -a[j].x);           // R12, R22: both tables are of W
        } else {
            b[j] = vec2(d.y, s.x) - vec2(s.y, d.x);
        }
    }
    return Block(
        vec4(a[0].x, a[1].x, a[2].x, a[3].x),
        vec4(b[0].x, b[1].x, b[2].x, b[3].x),
        vec4(a[0].y, a[1].y, a[2].y, a[3].y),
        vec4(b[0].y, b[1].y, b[2].y, b[3].y),
    );
}
