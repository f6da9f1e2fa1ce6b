//! Which values of a head are rotated, and by what pairs.

/// Which values stand in one pair, and are rotated by its angle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pairs {
    /// Values `j` and `j + width / 2`: LLaMA and most others, as Hugging Face stores them.
    Halves,
    /// Values `2 j` and `2 j + 1`: Cohere.
    Neighbours,
}

/// The rotation of a head: its first `width` values are rotated, the others stay. Angles are `[context, width / 2, 2]` f32 of
/// (cos, sin).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rotation {
    /// Rotated values of a head, even; 0 where positions do not matter.
    pub width: usize,
    /// What a pair is.
    pub pairs: Pairs,
}

impl Rotation {
    /// No rotation: layers without positions.
    pub const NONE: Self = Self::halves(0);

    /// The first `width` values of a head, in pairs half of them apart.
    pub const fn halves(width: usize) -> Self {
        Self {
            width,
            pairs: Pairs::Halves,
        }
    }

    /// The first `width` values of a head, in pairs of neighbours.
    pub const fn neighbours(width: usize) -> Self {
        Self {
            width,
            pairs: Pairs::Neighbours,
        }
    }

    /// The values of pair `j`.
    pub(in crate::ops) fn pair(self, j: usize) -> [usize; 2] {
        match self.pairs {
            Pairs::Halves => [j, j + self.width / 2],
            Pairs::Neighbours => [2 * j, 2 * j + 1],
        }
    }

    /// Rotates one head by the angles whose (cos, sin) are `angles`, or with `sign` -1 by the negative ones.
    pub(in crate::ops) fn rotate(self, head: &mut [f32], angles: &[f32], sign: f64) {
        for j in 0..self.width / 2 {
            let [first, second] = self.pair(j);
            let (cos, sin) = (
                f64::from(angles[2 * j]),
                sign * f64::from(angles[2 * j + 1]),
            );
            let (a, b) = (f64::from(head[first]), f64::from(head[second]));
            head[first] = (a * cos - b * sin) as f32;
            head[second] = (b * cos + a * sin) as f32;
        }
    }

    /// What the shapes of heads of `head_dim` values end with, unless all of them are rotated by halves.
    pub(in crate::ops) fn suffix(self, head_dim: usize) -> String {
        let mut suffix = String::new();
        if self.width != head_dim {
            suffix += &format!(",width={}", self.width);
        }
        if self.pairs == Pairs::Neighbours {
            suffix += ",pairs=neighbours";
        }
        suffix
    }
}
