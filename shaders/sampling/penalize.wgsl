// Computes: x[row, i] of a slot's tokens changed in place: plus its bias, divided (where positive) or multiplied by the
//    repetition penalty, minus the penalties of presence and frequency; minus infinity where the mask has no bit
// Inputs: settings of each row, and tables by slot; a token that none of them names keeps its bits
// Work split: one workgroup owns 1024 elements of one row, an invocation every 256th of them
// Shapes: settings [rows, 8] u32; history [slots, n] u32; bias [slots, n] f32; mask [slots, ceil(n / 32)] u32; x [rows, n]

struct Params {
    rows: u32,
    n: u32,
    history_slots: u32,
    bias_slots: u32,
    mask_slots: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> settings: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> history: array<u32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> mask: array<u32>;
@group(0) @binding(5) var<storage, read_write> x: array<f32>;

const WIDTH = 256u;
const PER_GROUP = 1024u;
const PENALIZED = 1u;
const BIASED = 2u;
const MASKED = 4u;
const LOWEST = 0xff800000u; // minus infinity

// How a row is penalized: the words of its settings.
struct How {
    slot: u32,
    flags: u32,
    repetition: vec2<f32>, // the penalty, and what is next to one divided by it
    presence: f32,
    frequency: f32,
    zero: u32, // which compilers do not know
}

// A result with the bits that it has on every device: `zero` keeps it from being fused with what is done next, subnormals
// become zero, and there is one NaN.
fn settled(value: f32, zero: u32) -> f32 {
    let bits = bitcast<u32>(value) ^ zero;
    let normal = select(bits, 0u, (bits & 0x7f800000u) == 0u);
    return bitcast<f32>(select(normal, 0x7fc00000u, (bits & 0x7fffffffu) > 0x7f800000u));
}

// a logit after the bias, with the word that tells how often its token occurred
fn penalized(logit: f32, word: u32, how: How) -> f32 {
    let factor = select(how.repetition.x, how.repetition.y, logit > 0.0);
    let scaled = settled(logit * factor, how.zero);
    let count = word & 0x7fffffffu;
    let frequent = settled(f32(count) * how.frequency, how.zero);
    let penalty = settled(frequent + how.presence, how.zero);
    return select(scaled, settled(scaled - penalty, how.zero), count > 0u);
}

fn settings_of(row: u32) -> How {
    let a = settings[2u * row];
    let b = settings[2u * row + 1u];
    // A slot that a table does not have has nothing in it.
    let slots = vec3(p.history_slots, p.bias_slots, p.mask_slots);
    let held = select(vec3(0u), vec3(PENALIZED, BIASED, MASKED), vec3(a.x) < slots);
    let factors = vec2(bitcast<f32>(a.z), bitcast<f32>(a.w));
    return How(a.x, a.y & (held.x | held.y | held.z), factors, bitcast<f32>(b.x), bitcast<f32>(b.y), b.z);
}

@compute @workgroup_size(WIDTH)
fn penalize(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = (wg.x + wg.y * nwg.x) * PER_GROUP;
    let how = settings_of(wg.z);
    if how.flags == 0u || first >= p.n {
        return;
    }
    for (var i = first + lane; i < min(first + PER_GROUP, p.n); i += WIDTH) {
        var word = 0u;
        var added = 0.0;
        var allowed = true;
        if (how.flags & PENALIZED) != 0u {
            word = history[how.slot * p.n + i];
        }
        if (how.flags & BIASED) != 0u {
            added = bias[how.slot * p.n + i];
        }
        if (how.flags & MASKED) != 0u {
            let words = (p.n + 31u) / 32u;
            allowed = ((mask[how.slot * words + i / 32u] >> (i % 32u)) & 1u) == 1u;
        }
        let biased = bitcast<u32>(added) << 1u != 0u;
        if biased || word != 0u || !allowed {
            var logit = settled(x[wg.z * p.n + i], how.zero);
            if biased {
                logit = settled(logit + settled(added, how.zero), how.zero);
            }
            if word != 0u {
                logit = penalized(logit, word, how);
            }
            x[wg.z * p.n + i] = select(bitcast<f32>(LOWEST ^ how.zero), logit, allowed);
        }
    }
}
