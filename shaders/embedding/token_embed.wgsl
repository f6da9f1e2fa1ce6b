// Computes: y = scale * table[id], converted to f32 in integers so that subnormals survive every device
// Inputs: a shard of the table from row first_row on; token ids
// Work split: one invocation owns one element of y
// Shapes: table [table_rows, row_words] u32; ids [ids_offset + tokens] u32; y [tokens, hidden] f32, as bits

struct Params {
    tokens: u32,
    hidden: u32,
    row_words: u32,  // words from row to row of the table
    first_row: u32,  // id of the shard's first row
    table_rows: u32, // rows of the shard
    ids_offset: u32,   // index of the first id
    scale: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> table: array<u32>;
@group(0) @binding(2) var<storage, read> ids: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<u32>;

override ELEM: u32 = 0u; // 0 f32, 1 f16, 2 bf16

const WIDTH = 256u;

// the f32 with the value of the half h, as bits
fn widen(h: u32) -> u32 {
    let sign = (h & 0x8000u) << 16u;
    let magnitude = h & 0x7fffu;
    if magnitude >= 0x7c00u {
        let quiet = select(0u, 0x400000u, magnitude > 0x7c00u);
        return sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13u) | quiet;
    }
    if magnitude >= 0x400u {
        return sign | ((magnitude << 13u) + (112u << 23u));
    }
    if magnitude == 0u {
        return sign;
    }
    // subnormal: magnitude 2^-24, and a small integer is exact as f32
    return sign | (bitcast<u32>(f32(magnitude)) - (24u << 23u));
}

fn element(row: u32, column: u32) -> u32 {
    let base = row * p.row_words;
    if ELEM == 0u {
        return table[base + column];
    }
    let half = (table[base + column / 2u] >> (16u * (column & 1u))) & 0xffffu;
    if ELEM == 1u {
        return widen(half);
    }
    return half << 16u;
}

@compute @workgroup_size(WIDTH)
fn token_embed(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (wg.x + wg.y * nwg.x) * WIDTH + lane;
    if i >= p.tokens * p.hidden {
        return;
    }
    let row = i / p.hidden;
    let id = ids[p.ids_offset + row];
    if id < p.first_row || id - p.first_row >= p.table_rows {
        return; // another shard's
    }
    let bits = element(id - p.first_row, i % p.hidden);
    if p.scale == 1.0 {
        y[i] = bits;
    } else {
        y[i] = bitcast<u32>(bitcast<f32>(bits) * p.scale);
    }
}
