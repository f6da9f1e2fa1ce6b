//! Arguments that several commands share.

use crate::backend::{Autotune, DeviceChoice};
use crate::error::{Error, Result};
use crate::model::{Config, Granularity, Method, Mixed, Recipe};
use crate::ops::quantize::Activations;
pub(super) use crate::train::MethodName;
use clap::{Args, ValueEnum};
use etcetera::BaseStrategy;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Which device, and whether to trust it.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Device")]
pub(super) struct DeviceArgs {
    /// auto (a real GPU, else the CPU), cpu, gpu (software ones too), vulkan, dx12, metal, an index or part of a name of `info`
    #[arg(long, env = "FAIRY2I_DEVICE", value_name = "DEVICE", default_value = "auto", value_parser = DeviceChoice::from_str)]
    pub device: DeviceChoice,
    /// Folder for compiled kernels, or `off` [default: fairy2i-gpu in the user's cache folder]
    #[arg(long, env = "FAIRY2I_CACHE", value_name = "FOLDER")]
    pub cache: Option<PathBuf>,
    /// Time the kernels of a GPU once for each shape of model, and keep which are fastest: off, on, or again
    #[arg(
        long,
        env = "FAIRY2I_AUTOTUNE",
        value_enum,
        default_value = "on",
        hide_possible_values = true
    )]
    pub autotune: AutotuneName,
    /// Compare every operation of the device with the CPU reference and stop at the first disagreement
    #[arg(long)]
    pub check: bool,
}

impl DeviceArgs {
    /// Where compiled kernels are kept, if anywhere.
    pub(super) fn cache_folder(&self) -> Option<PathBuf> {
        match &self.cache {
            Some(path) if path == Path::new("off") => None,
            Some(path) => Some(path.clone()),
            None => {
                let base = etcetera::choose_base_strategy().ok()?;
                Some(base.cache_dir().join("fairy2i-gpu"))
            }
        }
    }
}

/// Words for [`Autotune`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum AutotuneName {
    /// Numbers of the device's class.
    Off,
    /// What was measured before, or now.
    On,
    /// What is measured now, on software adapters too.
    Again,
}

impl From<AutotuneName> for Autotune {
    fn from(name: AutotuneName) -> Self {
        match name {
            AutotuneName::Off => Self::Off,
            AutotuneName::On => Self::On,
            AutotuneName::Again => Self::Again,
        }
    }
}

/// What to do with linear layers that are stored dense.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Quantization")]
pub(super) struct RecipeArgs {
    /// Residual stages of fairy2i, 1 to 4: bits per weight (fairy2i alone means 2; of iFairy, 1); of some layers others, later
    /// ones win:
    /// by kind `2,down=3,head=3`, by block `2,0-1+last=3`, by both `2,down@0-3=3`. Of a packed model: read its first T
    /// stages only
    #[arg(long, value_name = "T", value_parser = StageList::from_str)]
    pub stages: Option<StageList>,
    /// Which weights share scales: tensor (the papers'), row, group:N complex inputs of a row (N a multiple of 16), tile:N
    /// complex outputs of as many complex inputs, or tile:RxN: R complex outputs of N complex inputs
    #[arg(long, value_parser = Granularity::from_str)]
    pub granularity: Option<Granularity>,
    /// Representation of the linear layers
    #[arg(long)]
    pub method: Option<MethodName>,
    /// Leave the output head as it is stored
    #[arg(long)]
    pub skip_lm_head: bool,
    /// Turn the inputs of quantized layers by blocks of a Hadamard matrix: far better where activations have outliers, a few
    /// percent of the speed
    #[arg(long)]
    pub rotate: bool,
    /// Go on when weights are NaN or infinite: they count as 0 (export, and quantize where it keeps a weight, copy them)
    #[arg(long)]
    pub allow_nonfinite: bool,
}

/// What `--stages` says. Which block is the last, and whether a named block exists, is known with the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StageList(String);

impl StageList {
    /// The stages in a model of `blocks` blocks.
    ///
    /// # Errors
    /// [`Error::Usage`] for a block that the model does not have.
    pub(super) fn of(&self, blocks: usize) -> Result<Mixed> {
        let wrong = |what| Error::usage(format!("--stages {}: {what}", self.0), "correct it");
        Mixed::parse(&self.0, Some(blocks)).map_err(wrong)
    }
}

impl From<u8> for StageList {
    fn from(stages: u8) -> Self {
        Self(stages.to_string())
    }
}

impl FromStr for StageList {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        Mixed::parse(text, Some(Mixed::BLOCKS))?;
        Ok(Self(text.to_owned()))
    }
}

impl RecipeArgs {
    /// Whether anything was asked for.
    pub(super) fn is_given(&self) -> bool {
        self.stages.is_some()
            || self.granularity.is_some()
            || self.method.is_some()
            || self.skip_lm_head
            || self.rotate
    }

    /// The recipe they describe for a model, where nothing else is said with `default` as the method, and with the stages
    /// and the head that its family usually has.
    pub(super) fn recipe(&self, default: MethodName, config: &Config) -> Result<Recipe> {
        self.general(default, config.layers, config.blueprint().stages)
            .map(|recipe| recipe.in_family(config))
    }

    /// The recipe for a model of `blocks` blocks whose family usually has `usual` stages.
    fn general(&self, default: MethodName, blocks: usize, usual: u8) -> Result<Recipe> {
        let implied =
            self.stages.is_some() || self.granularity.is_some() || self.skip_lm_head || self.rotate;
        let name = self.method.unwrap_or(if implied {
            MethodName::Fairy2i
        } else {
            default
        });
        let method = match name {
            MethodName::Fairy2i => {
                let stages = self.stages.as_ref().map(|stages| stages.of(blocks));
                Method::phase(stages.unwrap_or(Ok(Mixed::from(usual)))?)
            }
            MethodName::Bitnet => Method::Binary,
            MethodName::Bitnet158 => Method::Ternary,
            MethodName::Full => Method::Full,
        };
        let phase = matches!(method, Method::Phase { .. } | Method::Mixed(_));
        if !phase && (self.stages.is_some() || self.granularity.is_some() || self.rotate) {
            return Err(Error::usage(
                "--stages, --granularity and --rotate are for the method fairy2i",
                "drop them, or --method",
            ));
        }
        if method == Method::Full && self.skip_lm_head {
            return Err(Error::usage(
                "--skip-lm-head has no meaning in full precision",
                "drop it, or say --stages",
            ));
        }
        Ok(Recipe {
            method,
            granularity: self.granularity.unwrap_or(Granularity::Tensor),
            skip_head: self.skip_lm_head,
            rotated: self.rotate,
        })
    }
}

/// How activations enter quantized layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ActivationName {
    /// Integers of 16 bits: exact sums, quality as with floats
    #[value(name = "16")]
    Int16,
    /// Integers of 8 bits: exact sums, fastest
    #[value(name = "8")]
    Int8,
    /// 32-bit floats, as the papers' code computes
    Float,
}

impl ActivationName {
    /// The word on the command line.
    pub fn word(self) -> &'static str {
        Activations::from(self).word()
    }
}

impl From<ActivationName> for Activations {
    fn from(name: ActivationName) -> Self {
        match name {
            ActivationName::Int16 => Self::Int16,
            ActivationName::Int8 => Self::Int8,
            ActivationName::Float => Self::Float,
        }
    }
}

/// How many tokens of a prompt are processed together, in llama.cpp's words.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct BatchArgs {
    /// Most tokens of a prompt given to the model together; -ub of them are processed at once
    #[arg(short, long, value_name = "N", default_value_t = 2048, value_parser = clap::value_parser!(u64).range(1..))]
    pub batch_size: u64,
    /// Most tokens processed at once (also -ub)
    #[arg(long, short_alias = 'u', alias = "batch", value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u64).range(1..))]
    pub ubatch_size: u64,
}

impl BatchArgs {
    /// Most tokens of a prompt processed at once: micro-batches are parts of batches.
    pub(super) fn at_once(&self) -> usize {
        let most = self.batch_size.min(self.ubatch_size);
        usize::try_from(most).unwrap_or(usize::MAX)
    }
}

/// Which of several ways to the same result are taken.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct PathArgs {
    /// How keys and values are kept: f16 is half the memory; auto: f16 on GPUs, f32 on the CPU
    #[arg(long, value_enum, default_value = "auto")]
    pub kv: KvName,
    /// Keep keys and values of all positions in layers with a window too, which otherwise keep what they may see
    #[arg(long)]
    pub swa_full: bool,
    /// Integer sums for prompts too, where cooperative matrices would be faster: the bits do not depend on the device,
    /// nor on what is processed together
    #[arg(long)]
    pub exact: bool,
}

/// How keys and values are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KvName {
    /// As suits the device
    Auto,
    /// Half precision
    F16,
    /// Single precision
    F32,
}

impl From<KvName> for Option<crate::ops::Kv> {
    fn from(name: KvName) -> Self {
        match name {
            KvName::Auto => None,
            KvName::F16 => Some(crate::ops::Kv::F16),
            KvName::F32 => Some(crate::ops::Kv::F32),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: RecipeArgs = RecipeArgs {
        stages: None,
        granularity: None,
        method: None,
        skip_lm_head: false,
        rotate: false,
        allow_nonfinite: false,
    };

    #[test]
    fn stages_mean_fairy2i() {
        let method =
            |args: RecipeArgs| args.general(MethodName::Full, 12, 2).map(|r| r.method).ok();
        assert_eq!(method(NOTHING), Some(Method::Full));
        let stages = Some(StageList::from(3));
        assert_eq!(
            method(RecipeArgs {
                stages: stages.clone(),
                ..NOTHING
            }),
            Some(Method::Phase { stages: 3 })
        );
        let bitnet = Some(MethodName::Bitnet);
        assert_eq!(
            method(RecipeArgs {
                method: bitnet,
                ..NOTHING
            }),
            Some(Method::Binary)
        );
        assert_eq!(
            method(RecipeArgs {
                method: bitnet,
                stages,
                ..NOTHING
            }),
            None
        );
        let quantize = NOTHING
            .general(MethodName::Fairy2i, 12, 2)
            .map(|r| r.method);
        assert_eq!(quantize.ok(), Some(Method::Phase { stages: 2 }));
    }

    #[test]
    fn blocks_of_stages_are_those_of_the_model() {
        let stages: StageList = "2,11-last=3".parse().expect("stages");
        let of = |blocks| stages.of(blocks).map(|mixed| mixed.to_string());
        assert_eq!(of(12).ok(), Some("2,11=3".to_owned()));
        assert_eq!(of(14).ok(), Some("2,11-13=3".to_owned()));
        let refused = of(11).expect_err("no such block").to_string();
        assert!(refused.contains("block 11"), "{refused}");
    }

    #[test]
    fn granularities() {
        assert_eq!("tensor".parse(), Ok(Granularity::Tensor));
        assert_eq!("group:64".parse(), Ok(Granularity::Group(64)));
        let tile = Granularity::Tile {
            rows: 4,
            columns: 32,
        };
        assert_eq!("tile:4x32".parse(), Ok(tile));
        let square = Granularity::Tile {
            rows: 64,
            columns: 64,
        };
        assert_eq!("tile:64".parse(), Ok(square));
        for bad in [
            "tile:4",
            "tile:",
            "tile:0",
            "tile:0x16",
            "tile:4x20",
            "tile:x16",
            "tile:4x16x2",
        ] {
            assert!(bad.parse::<Granularity>().is_err(), "{bad}");
        }
        for bad in ["group:0", "group:20", "group:-16", "groups", "row:1", ""] {
            assert!(bad.parse::<Granularity>().is_err(), "{bad}");
        }
    }
}
