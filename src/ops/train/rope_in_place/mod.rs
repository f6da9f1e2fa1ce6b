//! Rotary embedding of whole sequences in place, forward and backward.

use crate::ops::attention::{Pairs, Rotation};
use crate::ops::*;

mod cases;

/// Rotates the first `rotated` heads of every token by the angles of the token's position, or by the negative angle: the
/// gradient of a rotation is the inverse rotation.
///
/// Bindings: `table` [length, rotation.width / 2, 2] f32 of (cos, sin); `x` [tokens, heads, head_dim] f32, in place. Token
/// `i` is at position `i % length` of its sequence.
#[derive(Debug, Clone)]
pub struct RopeInPlace {
    /// Tokens of all sequences.
    pub tokens: usize,
    /// Heads of a token: those of q, k and v.
    pub heads: usize,
    /// The first heads, which are rotated: those of q and k.
    pub rotated: usize,
    /// Values per head; even.
    pub head_dim: usize,
    /// Which values of a head are rotated, and by what pairs; some are.
    pub rotation: Rotation,
    /// Tokens of one sequence.
    pub length: usize,
    /// Rotate by the negative angle.
    pub inverse: bool,
}

params! {
    /// Uniform block of [`RopeInPlace`].
    pub struct RopeInPlaceParams {
        tokens: u32,
        heads: u32,
        rotated: u32,
        head_dim: u32,
        width: u32,
        length: u32,
        sign: f32,
    }
}

impl RopeInPlace {
    fn sign(&self) -> f32 {
        if self.inverse { -1.0 } else { 1.0 }
    }
}

impl Op for RopeInPlace {
    const NAME: &'static str = "rope_in_place";
    const SHADERS: &'static [Shader] = &[shader!(Features::NONE, train / "rope_in_place")];
    const BINDINGS: &'static [Binding] = &[read("table", Elem::F32), write("x", Elem::F32)];
    // as `rope`: two roundings per value
    const AGREE: Agree = Agree::Nmse(3e-14);
    type Params = RopeInPlaceParams;

    fn shape(&self) -> String {
        format!(
            "tokens={},heads={},rotated={},head_dim={},length={},inverse={}{}",
            self.tokens,
            self.heads,
            self.rotated,
            self.head_dim,
            self.length,
            self.inverse,
            self.rotation.suffix(self.head_dim)
        )
    }

    fn params(&self) -> RopeInPlaceParams {
        RopeInPlaceParams {
            tokens: self.tokens as u32,
            heads: self.heads as u32,
            rotated: self.rotated as u32,
            head_dim: self.head_dim as u32,
            width: self.rotation.width as u32,
            length: self.length as u32,
            sign: self.sign(),
        }
    }

    fn overrides(&self) -> Vec<(&'static str, f64)> {
        let neighbours = self.rotation.pairs == Pairs::Neighbours;
        vec![("NEIGHBOURS", u32::from(neighbours).into())]
    }

    fn grid(&self) -> Grid {
        Grid::element_wise(self.tokens * self.rotated * self.rotation.width / 2)
    }

    fn lengths(&self) -> Vec<usize> {
        vec![
            self.length.min(self.tokens) * self.rotation.width,
            self.tokens * self.heads * self.head_dim,
        ]
    }

    fn cost(&self) -> Cost {
        let n = (self.tokens * self.rotated * self.rotation.width) as f64;
        Cost {
            bytes: 8.0 * n,
            ops: 3.0 * n,
        }
    }

    fn reference(&self, b: &mut Bindings<'_>) {
        let (table, x): (&[f32], &mut [f32]) = (b.read(0), b.write(1));
        let (d, width) = (self.head_dim, self.rotation.width);
        let tokens = x.chunks_exact_mut(self.heads * d).take(self.tokens);
        for (i, token) in tokens.enumerate() {
            let angles = &table[i % self.length * width..][..width];
            for head in token.chunks_exact_mut(d).take(self.rotated) {
                self.rotation.rotate(head, angles, self.sign().into());
            }
        }
    }

    fn cases() -> Vec<Case<Self>> {
        cases::cases()
    }
}
