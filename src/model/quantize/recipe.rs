//! What is done with the layers of a model, and how it is called.

use super::{Granularity, Mixed};
use crate::error::{Error, Result};
use crate::model::Config;
use crate::model::config::LinearShape;
use crate::ops::quantize::Hadamard;

/// How linear layers are represented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// Dense, as stored.
    Full,
    /// Fairy2i: widely-linear, codebook {1, i, -1, -i}.
    Phase {
        /// Residual stages, 1 to 4: as many bits for each weight.
        stages: usize,
    },
    /// [`Method::Phase`] with numbers of stages by the kind of a layer and its block.
    Mixed(Mixed),
    /// Real binary baseline (`bitnet`).
    Binary,
    /// Real ternary baseline (`bitnet_1_58`).
    Ternary,
}

impl Method {
    /// How the layer `prefix` is represented in a model of this method.
    #[must_use]
    pub fn of(self, prefix: &str) -> Self {
        match self {
            Self::Mixed(stages) => Self::Phase {
                stages: stages.of(prefix),
            },
            other => other,
        }
    }

    /// The phase method with these stages.
    pub fn phase(stages: Mixed) -> Self {
        match stages.is_uniform() {
            true => Self::Phase {
                stages: stages.base(),
            },
            false => Self::Mixed(stages),
        }
    }
}

/// What to do with the linear layers of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipe {
    /// Representation.
    pub method: Method,
    /// Scales; binary and ternary have one per tensor.
    pub granularity: Granularity,
    /// Leave the output head dense.
    pub skip_head: bool,
    /// Rotate the inputs of quantized layers, and their weights accordingly, so that outliers are spread over many columns
    /// ([`crate::ops::quantize::Hadamard`]).
    pub rotated: bool,
}

impl Recipe {
    /// Everything as it is stored.
    pub const FULL: Self = Self {
        method: Method::Full,
        granularity: Granularity::Tensor,
        skip_head: false,
        rotated: false,
    };

    /// How the first `stages` stages of a model of this recipe are read by themselves; layers with fewer stages keep theirs.
    ///
    /// # Errors
    /// [`Error::Usage`] for a method without stages, for none, and for more than any layer has.
    pub fn first_stages(self, stages: usize) -> Result<Self> {
        let all = match self.method {
            Method::Phase { stages } => u8::try_from(stages).ok().map(Mixed::from),
            Method::Mixed(stages) => Some(stages),
            _ => None,
        };
        let Some(all) = all else {
            return Err(Error::usage(
                format!("the first {stages} stages of a model that has none ({self})"),
                "read it as it is",
            ));
        };
        let most = all.most();
        match u8::try_from(stages) {
            Ok(first @ 1..) if stages <= most => Ok(Self {
                method: Method::phase(all.at_most(first)),
                ..self
            }),
            _ => Err(Error::usage(
                format!("the first {stages} stages of a model that has {most} ({self})"),
                format!("read from 1 to {most}"),
            )),
        }
    }

    /// The same for a model of a family whose head may have to stay dense.
    #[must_use]
    pub fn in_family(self, config: &Config) -> Self {
        let dense = config.blueprint().dense_head && self.method != Method::Full;
        Self {
            skip_head: self.skip_head || dense,
            ..self
        }
    }

    /// Stages of the layer that has most of them; 0 for a method without stages.
    pub fn most_stages(self) -> usize {
        match self.method {
            Method::Phase { stages } => stages,
            Method::Mixed(stages) => stages.most(),
            _ => 0,
        }
    }

    /// Whether it reads all stages, or the first ones, of a model that is packed as `packed`.
    pub fn reads(self, packed: Self) -> bool {
        match self.most_stages() {
            0 => self == packed,
            stages => packed.first_stages(stages).is_ok_and(|first| first == self),
        }
    }

    /// Rotates the rows of a weight [rows, columns] as the layer's inputs are rotated, if they are; `back` undoes that.
    pub(crate) fn rotate(&self, mut values: Vec<f32>, columns: usize, back: bool) -> Vec<f32> {
        if !self.rotated {
            return values;
        }
        let op = Hadamard {
            rows: values.len() / columns,
            width: columns,
            inverse: back,
        };
        op.apply(&mut values);
        values
    }

    /// The layers of a model that it quantizes, in forward order.
    pub fn layers(&self, config: &Config) -> Vec<LinearShape> {
        let mut all = config.linears();
        all.retain(|l| {
            self.method != Method::Full && !(self.skip_head && l.prefix == Config::HEAD)
        });
        all
    }

    /// Refuses stages of blocks that a model does not have, and rotated inputs of complex layers.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the block, or what the model is.
    pub fn check_blocks(&self, config: &Config) -> Result<()> {
        if config.blueprint().complex && self.rotated {
            return Err(Error::usage(
                format!(
                    "a {} has complex layers, which are not rotated",
                    config.architecture
                ),
                "leave the rotation out",
            ));
        }
        let Method::Mixed(stages) = self.method else {
            return Ok(());
        };
        match stages.beyond(config.layers) {
            None => Ok(()),
            Some(block) => Err(Error::usage(
                format!(
                    "stages of block {block}: the model has {}, counted from 0",
                    config.layers
                ),
                "name blocks that are there",
            )),
        }
    }
}

/// In words: `fairy2i, stages 2, scales per tensor`.
impl std::fmt::Display for Recipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.method {
            Method::Full => return f.write_str("full precision"),
            Method::Binary => f.write_str("bitnet")?,
            Method::Ternary => f.write_str("bitnet_1_58")?,
            Method::Phase { stages } => write!(
                f,
                "fairy2i, stages {stages}, scales per {}",
                self.granularity
            )?,
            Method::Mixed(stages) => write!(
                f,
                "fairy2i, stages {stages}, scales per {}",
                self.granularity
            )?,
        }
        if self.rotated {
            f.write_str(", inputs rotated")?;
        }
        match self.skip_head {
            true => f.write_str(", head as stored"),
            false => Ok(()),
        }
    }
}

/// In words: `tensor`, `row`, `group of 64`, `tile of 32 x 64`.
impl std::fmt::Display for Granularity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tensor => f.write_str("tensor"),
            Self::Row => f.write_str("row"),
            Self::Group(n) => write!(f, "group of {n}"),
            Self::Tile { rows, columns } => write!(f, "tile of {rows} x {columns}"),
        }
    }
}

/// From `tensor`, `row`, `group:N`, `tile:N` (N x N) or `tile:RxN`, N a positive multiple of 16 and R positive.
impl std::str::FromStr for Granularity {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let group = |n: &str| n.parse().ok().filter(|n| *n > 0 && n % 16 == 0);
        match text.split_once(':') {
            None if text == "tensor" => Ok(Self::Tensor),
            None if text == "row" => Ok(Self::Row),
            Some(("group", n)) => group(n)
                .map(Self::Group)
                .ok_or_else(|| "the group must be a positive multiple of 16".to_owned()),
            Some(("tile", size)) => {
                let (rows, columns) = size.split_once('x').unwrap_or((size, size));
                let rows = rows.parse().ok().filter(|&rows| rows > 0);
                let size = rows.zip(group(columns));
                let tile = size.map(|(rows, columns)| Self::Tile { rows, columns });
                tile.ok_or_else(|| {
                    "a tile is N or RxN: R rows of N columns, a positive multiple of 16".to_owned()
                })
            }
            _ => Err("expected tensor, row, group:N, tile:N or tile:RxN".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_stages_are_read_where_there_are_some() {
        let of = |method| Recipe {
            method,
            ..Recipe::FULL
        };
        let mixed = of(Method::Mixed("2,down=3".parse().expect("stages")));
        let two = of(Method::Phase { stages: 2 });
        assert_eq!(mixed.first_stages(2).ok(), Some(two));
        assert_eq!(mixed.first_stages(3).ok(), Some(mixed));
        assert!(two.reads(mixed) && two.reads(two) && !mixed.reads(two));
        assert!(!of(Method::Phase { stages: 3 }).reads(mixed));
        for (recipe, stages) in [(two, 0), (two, 3), (mixed, 4), (two, 257)] {
            let error = recipe.first_stages(stages).expect_err("refused");
            assert_eq!(error.exit_code(), 2);
        }
        for method in [Method::Full, Method::Binary] {
            assert!(of(method).first_stages(1).is_err());
            assert!(of(method).reads(of(method)) && !two.reads(of(method)));
        }
    }
}
