//! Shapes and inputs that the ops of this wing share in their cases.

use super::{Heads, Kv, Positions, Ranges, Rotation, default_scale};
use crate::ops::bench::{DEPTH, PROMPT};
use crate::ops::{Data, noise};

/// (cos, sin) for `positions` positions and a rotation of `width` values, from noise.
pub(in crate::ops) fn noise_angles(positions: usize, width: usize) -> Vec<f32> {
    let angles = noise(41, positions * width / 2, 3.15);
    angles.iter().flat_map(|a| [a.cos(), a.sin()]).collect()
}

/// (cos, sin) for all positions.
pub(super) fn angles(h: &Heads) -> Data {
    let positions = h.capacity.max(h.end());
    Data::f32(&noise_angles(positions, h.rotation.width.max(2)))
}

/// A cache of noise, in which everything that a token must not see lies too: other slots, and positions after its own.
pub(super) fn cache(h: &Heads, seed: u32) -> Data {
    let slots = match h.positions {
        Positions::Run { slot, .. } => slot + 1,
        Positions::Table { slots, .. } => slots,
    };
    let values = slots * h.capacity * h.cache_row();
    Data::u32(&h.kv.encode(&noise(seed, values, 1.0)))
}

/// The row table: none for a run; else rows of others, which would lead astray, and those of the tokens. Slots are taken
/// from the last one down, positions begin with the last and the first one, and the others lie between.
pub(super) fn table(h: &Heads) -> Data {
    let Positions::Table { row, slots, end } = h.positions else {
        return Data::u32(&[0; 2]);
    };
    let mut words = vec![u32::MAX; 2 * row];
    for token in 0..h.tokens {
        let position = match token {
            0 => end - 1,
            1 => 0,
            _ => (end * token * 5 / 7) % end,
        };
        words.extend([slots - 1 - token % slots, position].map(|word| word as u32));
    }
    Data::u32(&words)
}

/// A run in the first slot: [tokens, heads, kv_heads, head_dim] from a position on.
pub(super) fn run([tokens, heads, kv_heads, head_dim]: [usize; 4], first: usize) -> Heads {
    Heads {
        tokens,
        heads,
        kv_heads,
        head_dim,
        complex: false,
        kv: Kv::F32,
        capacity: first + tokens + 2,
        offset: 0,
        positions: Positions::Run { slot: 0, first },
        scale: default_scale(head_dim, false),
        window: usize::MAX,
        softcap: 0.0,
        rotation: Rotation::halves(head_dim),
    }
}

/// Tokens of several sequences, each in a slot of its own, at positions below `end`.
pub(super) fn mixed(sizes: [usize; 4], end: usize, kv: Kv) -> Heads {
    let h = run(sizes, end);
    Heads {
        kv,
        positions: Positions::Table {
            row: 0,
            slots: h.tokens,
            end,
        },
        ..h
    }
}

/// The same heads of complex values.
pub(super) fn complex(h: Heads) -> Heads {
    Heads {
        complex: true,
        scale: default_scale(h.head_dim, true),
        ..h
    }
}

/// The same heads in a window, with bounded scores.
pub(super) fn windowed(window: usize, softcap: f32, h: Heads) -> Heads {
    Heads {
        window,
        softcap,
        ..h
    }
}

/// The same heads in slots that are rings: of as many positions as a window and the tokens of a run need, and `more`.
pub(super) fn ringed(more: usize, h: Heads) -> Heads {
    let tokens = match h.positions {
        Positions::Run { .. } => h.tokens,
        Positions::Table { .. } => 1,
    };
    Heads {
        capacity: h.window + tokens - 1 + more,
        ..h
    }
}

/// The same heads, rotated otherwise.
pub(super) fn rotated(rotation: Rotation, h: Heads) -> Heads {
    Heads { rotation, ..h }
}

/// Windows that some tokens have reached and some not, or that are longer than a tile of positions, in slots that hold all
/// positions and in rings; some values rotated, or none; pairs of neighbours; bounded scores, and scales of other models.
fn other_models() -> [Heads; 7] {
    let (halves, neighbours) = (Rotation::halves(12), Rotation::neighbours(20));
    let few = rotated(halves, run([9, 4, 2, 16], 5));
    let apart = rotated(neighbours, mixed([3, 4, 1, 24], 141, Kv::F16));
    let apart = Heads {
        scale: 0.3,
        ..apart
    };
    let long = rotated(Rotation::NONE, run([2, 2, 1, 32], 300));
    let many = rotated(halves, run([70, 4, 2, 16], 100));
    [
        windowed(7, 0.5, few),
        windowed(33, 0.0, apart),
        windowed(150, 0.5, long),
        ringed(0, windowed(5, 0.0, many)),
        ringed(3, windowed(33, 0.0, apart)),
        ringed(11, windowed(150, 0.5, long)),
        ringed(
            0,
            windowed(
                150,
                0.0,
                Heads {
                    kv: Kv::F16,
                    ..long
                },
            ),
        ),
    ]
}

/// The shapes that `rope`, `attention` and `attention_split` are checked on.
pub(super) fn shapes() -> Vec<Heads> {
    let later = |slot, h: Heads| {
        let Positions::Run { first, .. } = h.positions else {
            return h;
        };
        Heads {
            positions: Positions::Run { slot, first },
            ..h
        }
    };
    let half = |h| Heads { kv: Kv::F16, ..h };
    let offset = |offset, h| Heads { offset, ..h };
    // several tokens of few slots, as of a prompt beside other sequences, and rows of other steps before them
    let shared = Heads {
        offset: 2,
        positions: Positions::Table {
            row: 3,
            slots: 3,
            end: 141,
        },
        ..mixed([5, 4, 2, 16], 141, Kv::F32)
    };
    let mut shapes = vec![
        run([1, 8, 4, 8], 0),
        run([9, 4, 4, 16], 0),
        run([3, 6, 2, 64], 5),
        run([2, 4, 1, 128], 126),
        run([2, 2, 1, 32], 127), // a tile of positions and one more
        run([3, 3, 3, 10], 7),
        run([5, 2, 1, 2], 300),
        run([2, 2, 2, 256], 130),
        run([1, 2, 1, 96], 140), // lanes that own no slice of the positions
        half(run([3, 6, 2, 64], 150)),
        half(later(2, run([2, 2, 2, 20], 30))),
        later(1, run([2, 2, 1, 16], 9)),
        offset(3, run([3, 6, 2, 64], 5)),
        mixed([2, 4, 2, 16], 40, Kv::F32),
        mixed([3, 4, 1, 64], 333, Kv::F16),
        mixed([7, 6, 2, 32], 130, Kv::F16),
        shared,
        half(shared),
    ];
    shapes.extend(other_models());
    shapes
}

/// How far benched steps are split, as on the GPU that their shapes were measured on.
pub(super) const RANGES: Ranges = Ranges {
    groups: 512,
    least: 128,
};

/// Heads of 128 values: 32 of queries, a run of one sequence that begins at `first`.
pub(super) fn step_heads(tokens: usize, kv_heads: usize, first: usize) -> Heads {
    Heads {
        kv: Kv::F16,
        capacity: first + tokens,
        ..run([tokens, 32, kv_heads, 128], first)
    }
}

/// Steps that end at the full depth, with one key head for each query head and with a quarter of that.
pub(super) fn heads() -> Vec<Heads> {
    let each = |tokens| [32, 8].map(|kv_heads| step_heads(tokens, kv_heads, DEPTH - tokens));
    [1, PROMPT].into_iter().flat_map(each).collect()
}

/// Results of a step: overwritten as a whole, or behind rows of others, which stay.
pub(super) fn out(h: &Heads, seed: u32) -> Data {
    let len = h.rows() * h.q_row();
    match h.offset {
        0 => Data::Out(len),
        _ => Data::f32(&noise(seed, len, 1.0)),
    }
}
