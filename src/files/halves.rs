//! Tensors of complex models: files hold the real and the imaginary parts of one apart, programs see both as one.
//!
//! `{name}_real` and `{name}_imag` of the same shape become `{name}`: a matrix or vector that first has all real parts, then
//! all imaginary parts, or a table whose rows have both halves beside each other.

use crate::model::Dtype;

/// How the two halves of a tensor lie together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Halves {
    /// The rows of the imaginary half follow those of the real half: weights of linear layers and norms.
    Below,
    /// Each row has its real half, then its imaginary half: embeddings.
    Beside,
}

impl Halves {
    /// Names of the halves of a tensor: `w_proj.weight` has `w_proj.weight_real` and `w_proj.weight_imag`, and the embedding
    /// `table.weight` has `table_real.weight` and `table_imag.weight`.
    pub fn names(self, name: &str) -> [String; 2] {
        ["_real", "_imag"].map(|half| match (self, name.strip_suffix(".weight")) {
            (Self::Beside, Some(table)) => format!("{table}{half}.weight"),
            _ => format!("{name}{half}"),
        })
    }

    /// Shape of each half of a tensor of this shape.
    pub fn shape(self, whole: &[usize]) -> Vec<usize> {
        let mut shape = whole.to_vec();
        let halved = match self {
            Self::Below => shape.first_mut(),
            Self::Beside => shape.last_mut(),
        };
        if let Some(size) = halved {
            *size /= 2;
        }
        shape
    }

    /// Bytes that lie together in a half of a tensor of this shape.
    fn run(self, whole: &[usize], dtype: Dtype) -> usize {
        let all: usize = whole.iter().product();
        let rows = match self {
            Self::Below => 1,
            Self::Beside => whole.first().copied().unwrap_or(1).max(1),
        };
        all / 2 / rows * dtype.bytes()
    }

    /// The bytes of a tensor of this shape from those of its halves.
    pub fn join(self, whole: &[usize], dtype: Dtype, [re, im]: [&[u8]; 2]) -> Vec<u8> {
        let run = self.run(whole, dtype).max(1);
        let runs = re.chunks(run).zip(im.chunks(run));
        let mut bytes = Vec::with_capacity(re.len() + im.len());
        for (re, im) in runs {
            bytes.extend_from_slice(re);
            bytes.extend_from_slice(im);
        }
        bytes
    }

    /// The bytes of the halves of a tensor of this shape.
    pub fn split(self, whole: &[usize], dtype: Dtype, bytes: &[u8]) -> [Vec<u8>; 2] {
        let run = self.run(whole, dtype).max(1);
        let mut halves = [(); 2].map(|()| Vec::with_capacity(bytes.len() / 2));
        for (i, piece) in bytes.chunks(run).enumerate() {
            halves[i % 2].extend_from_slice(piece);
        }
        halves
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_lie_below_or_beside_each_other() {
        let (re, im) = ([1u8, 2, 3, 4], [5u8, 6, 7, 8]);
        for (halves, whole, joined) in [
            (Halves::Below, [4, 1], [1, 2, 3, 4, 5, 6, 7, 8]),
            (Halves::Beside, [2, 2], [1, 2, 5, 6, 3, 4, 7, 8]),
        ] {
            assert_eq!(halves.join(&whole, Dtype::F16, [&re, &im]), joined);
            let split = halves.split(&whole, Dtype::F16, &joined);
            assert_eq!(split, [re.to_vec(), im.to_vec()]);
        }
        assert_eq!(Halves::Below.shape(&[6, 3]), [3, 3]);
        assert_eq!(Halves::Beside.shape(&[6, 4]), [6, 2]);
    }

    #[test]
    fn names_are_those_of_the_published_models() {
        let names = Halves::Below.names("layer.0.mlp.up_proj.weight");
        assert_eq!(names[0], "layer.0.mlp.up_proj.weight_real");
        let names = Halves::Beside.names("token_embeddings.weight");
        assert_eq!(names[1], "token_embeddings_imag.weight");
    }
}
