//! Rotary embedding of whole texts in place, forward and back.

use super::*;
use crate::ops::attention::noise_turns;
use bytemuck::Zeroable;

/// Rotates the pairs `(j, j + head_dim / 2)` of the first `turned` heads of every row by the angle of the row's
/// position, or back by it: the gradient of a rotation is the rotation by the negative angle.
///
/// Bindings: `table` [length, head_dim / 2, 2] f32 of (cos, sin); `x` [rows, heads, head_dim] f32, in place. Row `i`
/// is at position `i % length` of its text.
#[derive(Debug, Clone)]
pub struct RopeInPlace {
    /// Tokens of all texts.
    pub rows: usize,
    /// Heads of a row: of q, k and v.
    pub heads: usize,
    /// Those that are rotated: of q and k.
    pub turned: usize,
    /// Values per head; even.
    pub head_dim: usize,
    /// Tokens of one text.
    pub length: usize,
    /// Turn back.
    pub back: bool,
}

/// Uniform block of [`RopeInPlace`].
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct RopeInPlaceParams {
    rows: u32,
    heads: u32,
    turned: u32,
    head_dim: u32,
    length: u32,
    sign: f32,
}

impl RopeInPlace {
    fn sign(&self) -> f32 {
        if self.back { -1.0 } else { 1.0 }
    }
}

impl Op for RopeInPlace {
    const NAME: &'static str = "rope_in_place";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, train / "rope_in_place")];
    const BINDINGS: &'static [Binding] = &[read("table", Elem::F32), write("x", Elem::F32)];
    // as `rope`: two roundings per value
    const AGREE: Agree = Agree::Nmse(3e-14);
    type Params = RopeInPlaceParams;

    fn params(&self) -> RopeInPlaceParams {
        RopeInPlaceParams {
            rows: self.rows as u32,
            heads: self.heads as u32,
            turned: self.turned as u32,
            head_dim: self.head_dim as u32,
            length: self.length as u32,
            sign: self.sign(),
        }
    }

    fn grid(&self) -> Grid {
        Grid::element_wise(self.rows * self.turned * self.head_dim / 2)
    }

    fn lengths(&self) -> Vec<usize> {
        vec![
            self.length.min(self.rows) * self.head_dim,
            self.rows * self.heads * self.head_dim,
        ]
    }

    fn cost(&self) -> Cost {
        let n = (self.rows * self.turned * self.head_dim) as f64;
        Cost {
            bytes: 8.0 * n,
            ops: 3.0 * n,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (table, x): (&[f32], &mut [f32]) = (b.read(0), b.write(1));
        let (d, half) = (self.head_dim, self.head_dim / 2);
        let rows = x.chunks_exact_mut(self.heads * d).take(self.rows);
        for (i, row) in rows.enumerate() {
            let turns = &table[i % self.length * d..][..d];
            for head in row.chunks_exact_mut(d).take(self.turned) {
                for j in 0..half {
                    let cos = f64::from(turns[2 * j]);
                    let sin = f64::from(self.sign() * turns[2 * j + 1]);
                    let (a, b) = (f64::from(head[j]), f64::from(head[j + half]));
                    head[j] = (a * cos - b * sin) as f32;
                    head[j + half] = (b * cos + a * sin) as f32;
                }
            }
        }
    }

    fn cases() -> Vec<Case<Self>> {
        let case = |name: &str, op: Self| {
            let data = vec![
                Data::f32(&noise_turns(op.length, op.head_dim)),
                Data::f32(&noise(45, op.rows * op.heads * op.head_dim, 2.0)),
            ];
            Case::new(name, op, data)
        };
        let op = |rows, heads, turned, head_dim, length, back| Self {
            rows,
            heads,
            turned,
            head_dim,
            length,
            back,
        };
        vec![
            case("two texts", op(14, 8, 6, 16, 7, false)),
            case("two texts, back", op(14, 8, 6, 16, 7, true)),
            case("odd pairs, back", op(5, 3, 3, 10, 5, true)),
            case("a short text", op(3, 4, 3, 64, 9, false)),
        ]
    }
}
