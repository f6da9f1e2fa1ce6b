//! The packed format: a Hugging Face folder whose linear layers are codes and scales.
//!
//! # The format, versions 1 to 3
//!
//! A folder with `config.json`, safetensors files, and the original's tokenizer files. There is either one
//! `model.safetensors`, or shards `model-0000k-of-0000n.safetensors` with `model.safetensors.index.json`, as Hugging
//! Face writes them. All numbers are little-endian, all tensors row-major.
//!
//! ## `config.json`
//! The fields of the original, and `quantization_config`:
//!
//! | field | value |
//! |---|---|
//! | `quant_method` | `"fairy2i"` |
//! | `version` | 1; 2 with `stages_of`; 3 with whole names in it; readers refuse larger numbers |
//! | `method` | `"fairy2i"`, `"bitnet"` (binary) or `"bitnet_1_58"` (ternary) |
//! | `stages` | T, 1 to 4; 1 for `bitnet` and `bitnet_1_58` |
//! | `stages_of` | from version 2 on: an object with the T of layers whose names end so (`q_proj`, ..., `lm_head`), where it is not `stages`; in version 3 also of single layers (`model.layers.0.mlp.down_proj`), which win over their endings. q, k and v of a block have the same T, and so have gate and up |
//! | `granularity` | `"tensor"`, `"row"`, `"group"` or, in version 3, `"tile"`; `"tensor"` for `bitnet` and `bitnet_1_58` |
//! | `group_size` | complex columns that share scales, a positive multiple of 16; only with `"group"` and `"tile"` |
//! | `tile_rows` | complex rows that share scales; only with `"tile"` |
//! | `rotation` | only in version 3: `"hadamard"` where inputs are turned, see below |
//! | `skip_lm_head` | whether the head is stored dense (default false) |
//!
//! ## Tensors
//! A dense linear layer `{prefix}.weight` of shape `[out, in]` is replaced by `{prefix}.codes` (U32) and
//! `{prefix}.scales` (F32). These are all `{q,k,v,o}_proj`, `{gate,up,down}_proj` and `lm_head`. With
//! `skip_lm_head`, the head is `lm_head.weight`, or absent if `tie_word_embeddings` is true. Without, the head is
//! packed also where it is tied: it is quantized from the embedding, which stays dense.
//! `model.embed_tokens.weight`, norms and a skipped head are F16, BF16 or F32 (this writer keeps 16-bit types, makes
//! F32 embeddings and heads F16, and leaves F32 norms as they are). There are no other tensors.
//!
//! Let n = ceil(out / 2), m = ceil(in / 2); the dense weight R is padded with a zero row and a zero column to
//! 2n x 2m and cut into four n x m blocks R11 R12 / R21 R22. With
//!
//! ```text
//! U = 1/2 [(R11 + R22) + i (R21 - R12)]     R11 = Re U + Re W     R12 = Im W - Im U
//! W = 1/2 [(R11 - R22) + i (R21 + R12)]     R21 = Im W + Im U     R22 = Re U - Re W
//! ```
//!
//! each of U and W is the sum of T stages, and an element of a stage with code k (0 to 3) stands for
//! `(+s_re, 0)`, `(0, +s_im)`, `(-s_re, 0)`, `(0, -s_im)`.
//!
//! With `rotation`, what is packed is not R but `R D H`: signs D by column and a Walsh-Hadamard matrix H of blocks of
//! columns, as [`crate::ops::quantize::Hadamard`] has them. The layer's input is turned the same way, `H D x`, before it is
//! rounded.
//!
//! **`method` = `fairy2i`**
//! - `codes` `[n, M, T, ceil(m / 16)]`: row, matrix (U, then W: M = 2), stage, word. A word holds 16 columns; the two bits at
//!   `8 (j % 4) + 2 (j / 4)` (j = column mod 16) are the symbol `k ^ (k >> 1)`, so 0, 1, 3, 2 for k = 0, 1, 2, 3.
//!   Every bit pattern is valid. Columns beyond m are 0 and are ignored.
//! - `scales` `[cells, groups, M, T, 2]`: cell (1 for `tensor`, ceil(n / tile_rows) for `tile`: row i is in cell
//!   i / tile_rows, else n: the row), group of columns (1, or ceil(m / group_size) for `group` and `tile`), matrix, stage, then (s_re, s_im). Finite, not negative
//!   (this writer's are positive; 0 makes nothing of the weights with that code).
//!
//! Layers of a model with `model_type` `complexnet` (iFairy) are `y = W conj(x)` for n complex outputs and m complex inputs:
//! they have W alone, M = 1, and their scales are at least 1e-5. Such a folder has the family's own names, its other tensors in
//! halves (`layer.0.pre_layernorm.weight_real`, `token_embeddings_imag.weight`) and a dense head (`skip_lm_head` true).
//!
//! **`method` = `bitnet`**
//! - `codes` `[out, ceil(in / 32)]`: bit `j % 32` of word `j / 32` is 1 where the weight is +s, 0 where it is -s;
//!   bits beyond `in` are 0 and are ignored.
//! - `scales` `[1]`: s. Finite, not negative.
//!
//! **`method` = `bitnet_1_58`**
//! - `codes` `[out, ceil(in / 16)]`: the two bits at `2 (j % 16)` of word `j / 16` are 0, 1 (+g) or 3 (-g);
//!   2 is invalid. Columns beyond `in` are 0.
//! - `scales` `[1]`: g. Finite, not negative.

use super::checkpoint::{Checkpoint, Spec};
use super::copy_from::CopyFrom;
use super::plan::{self, Role};
use super::staging::{Destination, Replaced};
use super::{CONFIG, config};
use crate::error::{Error, Result};
use crate::model::weights::bad_scale;
use crate::model::{Dtype, Granularity, Method, Packed, Recipe};
use std::borrow::Cow;

/// Files are cut where they would grow beyond this.
pub const SHARD_BYTES: u64 = 2_000_000_000;

/// A packed folder being written. Nothing is there before [`Writer::finish`], and nothing stays without it.
pub struct Writer {
    checkpoint: Checkpoint,
    recipe: Recipe,
    fields: Vec<u8>,
}

impl Writer {
    /// Starts a folder for `original` packed as `recipe`, and writes everything but the packed layers.
    ///
    /// # Errors
    /// [`Error::Usage`] for a recipe that packs nothing; those of [`super::staging::Staging::begin`], for which
    /// `original` is read, whether `destination` says so or not; [`Error::NonFinite`], [`Error::Io`].
    pub fn create(
        destination: &Destination<'_>,
        original: CopyFrom<'_>,
        recipe: Recipe,
        shard_bytes: u64,
    ) -> Result<Self> {
        check(recipe)?;
        recipe.check_blocks(original.config)?;
        let mut specs = Vec::new();
        let mut dense = Vec::new();
        for planned in plan::plan(original.config, Some(&recipe)) {
            let dtype = match planned.role {
                Role::Codes => Dtype::U32,
                Role::Scales => Dtype::F32,
                Role::Dense | Role::Norm => {
                    let stored = original.dense(&planned.name)?.dtype;
                    let dtype = match (planned.role, stored) {
                        (Role::Dense, Dtype::F32) => Dtype::F16,
                        _ => stored,
                    };
                    dense.push((planned.clone(), dtype));
                    dtype
                }
            };
            specs.extend(Spec::of(&planned, dtype));
        }
        let embed = original.config.embed_name();
        let kind = dense.iter().find(|(planned, _)| planned.name == embed);
        let kind = kind.map_or(Dtype::F16, |(_, dtype)| *dtype);
        let fields = config::to_json(original.config, Some(&recipe), kind, original.fields);
        let inputs = original.read_beside(destination.inputs);
        let destination = Destination {
            inputs: &inputs,
            ..*destination
        };
        let mut checkpoint = Checkpoint::create(&destination, &specs, shard_bytes)?;
        for (planned, dtype) in dense {
            let tensor = original.dense(&planned.name)?;
            let bytes = original.convert(&planned.name, &tensor, dtype)?;
            checkpoint.put_planned(&planned, dtype, &bytes)?;
        }
        original.carry(|name, bytes| checkpoint.write(name, bytes))?;
        Ok(Self {
            checkpoint,
            recipe,
            fields: format!("{:#}\n", serde_json::Value::from(fields)).into_bytes(),
        })
    }

    /// Writes one packed layer; they may come in any order.
    ///
    /// # Errors
    /// [`Error::Usage`] when it was packed by another recipe, [`Error::Io`].
    pub fn linear(&mut self, prefix: &str, packed: &Packed) -> Result<()> {
        let wrong = |what: &str| {
            Error::usage(
                format!("layer `{prefix}` {what}"),
                "please report this as a bug",
            )
        };
        if packed.method != self.recipe.method.of(prefix)
            || packed.granularity != self.recipe.granularity
        {
            return Err(wrong("was quantized by another recipe"));
        }
        if bad_scale(packed.scales.iter().copied()).is_some() {
            return Err(wrong("has a scale that is negative or not finite"));
        }
        let scales = bytemuck::cast_slice(&packed.scales);
        self.checkpoint
            .put(&format!("{prefix}.codes"), &little_endian(&packed.codes))?;
        self.checkpoint
            .put(&format!("{prefix}.scales"), &little_endian(scales))
    }

    /// Writes another file of the folder.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn file(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.checkpoint.write(name, bytes)
    }

    /// Puts the folder in its place. Returns what that replaced, if something was there.
    ///
    /// # Errors
    /// [`Error::Usage`] when a layer is missing, [`Error::Occupied`], [`Error::Io`].
    pub fn finish(self) -> Result<Option<Replaced>> {
        self.checkpoint.write(CONFIG, &self.fields)?;
        self.checkpoint.finish()
    }
}

/// Refuses a recipe that packs nothing.
///
/// # Errors
/// [`Error::Usage`].
pub fn check(recipe: Recipe) -> Result<()> {
    let refuse = |what: &str, hint: &str| Err(Error::usage(what, hint));
    match (recipe.method, recipe.granularity) {
        (Method::Full, _) => refuse("full precision is not a packed format", "choose a method"),
        (Method::Phase { stages }, _) if !(1..=4).contains(&stages) => refuse(
            "the number of stages is not from 1 to 4",
            "choose 1, 2, 3 or 4",
        ),
        (_, Granularity::Group(g)) if g == 0 || g % 16 != 0 => refuse(
            "the group size is not a multiple of 16",
            "choose 32, 64 or 128",
        ),
        (_, Granularity::Tile { rows, columns })
            if rows == 0 || columns == 0 || columns % 16 != 0 =>
        {
            refuse(
                "the columns of a tile are not a multiple of 16",
                "choose tiles of 32 x 64",
            )
        }
        (Method::Binary | Method::Ternary, g) if g != Granularity::Tensor => refuse(
            "binary and ternary weights have one scale per tensor",
            "choose tensor granularity",
        ),
        _ => Ok(()),
    }
}

/// The bytes of `words` in the files' order.
pub fn little_endian(words: &[u32]) -> Cow<'_, [u8]> {
    if cfg!(target_endian = "little") {
        Cow::Borrowed(bytemuck::cast_slice(words))
    } else {
        words.iter().flat_map(|w| w.to_le_bytes()).collect()
    }
}
