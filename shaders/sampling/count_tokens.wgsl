// Computes: history[slot, id] of every id: one more of them, or, for a prompt, the highest bit set
// Inputs: ids as they were chosen; the slot of each, from the settings of penalties, which also say whether it is counted
// Work split: one workgroup owns 256 ids, one an invocation; several may be the same id of the same slot
// Shapes: ids [offset + count] u32; settings [rows, 8] u32; history [slots, n] u32

struct Params {
    count: u32,
    n: u32,
    slots: u32,
    offset: u32, // index of the first id
    first: u32,  // row of settings of the first id
    stride: u32, // 1: every id has a row of its own; 0: one row serves all
    prompt: u32, // 1: ids are those of a prompt
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read> settings: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read_write> history: array<atomic<u32>>;

const WIDTH = 256u;
const PENALIZED = 1u;
const IN_PROMPT = 0x80000000u;

@compute @workgroup_size(WIDTH)
fn count_tokens(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (wg.x + wg.y * nwg.x) * WIDTH + lane;
    if i >= p.count {
        return;
    }
    let how = settings[2u * (p.first + i * p.stride)];
    let id = ids[p.offset + i];
    if id >= p.n || how.x >= p.slots || (how.y & PENALIZED) == 0u {
        return;
    }
    let at = how.x * p.n + id;
    if p.prompt == 1u {
        atomicOr(&history[at], IN_PROMPT);
    } else {
        atomicAdd(&history[at], 1u);
    }
}
