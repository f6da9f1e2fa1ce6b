//! How masters and moments are held between steps, and what an update makes of them.
//!
//! A step's arithmetic is in f32 always: moments and masters of fewer bits are unpacked a portion at a time, updated, and
//! packed again, with the random rounding of [`crate::ops::train::bf16`].

use super::Trainer;
use super::options::TrainOptions;
use super::parameters::{Kind, Parameter};
use super::quantizer::quantized;
use super::scope::Holding;
use crate::backend::Backend;
use crate::error::Result;
use crate::files::run::Part;
use crate::model::Config;
use crate::ops::train::bf16::{self, Bf16Pack, Bf16Unpack};
use crate::ops::train::block8::{self, Block8Pack, Block8Unpack, Range};
use crate::ops::train::optimizer::{Adamw, Update};
use crate::ops::{Bindings, Op};
use crate::random;
use serde::{Deserialize, Serialize};

/// What AdamW's two moments of a matrix are held in. Those of norms and scales are in f32 always: they are few.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Moments {
    /// f32
    #[default]
    #[serde(rename = "32")]
    #[cfg_attr(feature = "cli", value(name = "32"))]
    F32,
    /// bf16, rounded at random so that the mean is right
    #[serde(rename = "16")]
    #[cfg_attr(feature = "cli", value(name = "16"))]
    Bf16,
    /// Small floats below the largest of each 256, rounded at random
    #[serde(rename = "8")]
    #[cfg_attr(feature = "cli", value(name = "8"))]
    Block8,
}

impl Moments {
    /// All of them, from the most bits to the fewest.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::Block8];

    /// Bits of a value, the word of each block aside.
    pub const fn bits(self) -> usize {
        match self {
            Self::F32 => 32,
            Self::Bf16 => 16,
            Self::Block8 => 8,
        }
    }
}

/// What the masters of quantized layers are held in. All other weights are in f32 always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Masters {
    /// f32
    #[default]
    F32,
    /// bf16, rounded at random so that the mean is right
    Bf16,
}

/// How the values of one tensor are held in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    F32,
    /// Two a word, as products take them.
    F16,
    /// Two a word.
    Bf16,
    /// Blocks of 256.
    Block8,
}

impl Format {
    /// Words of `n` values.
    pub fn words(self, n: usize) -> usize {
        match self {
            Self::F32 => n,
            Self::F16 | Self::Bf16 => bf16::words(n),
            Self::Block8 => block8::words(n),
        }
    }

    /// The `n` values that these words hold; `positive`: they have no sign.
    pub fn values(self, words: &[u32], n: usize, positive: bool) -> Vec<f32> {
        let half = |i: usize| (words[i / 2] >> (16 * (i % 2))) as u16;
        let range = Range {
            n,
            first: 0,
            of: n,
            positive,
        };
        match self {
            Self::F32 => bytemuck::cast_slice(words).to_vec(),
            Self::F16 => (0..n)
                .map(|i| half::f16::from_bits(half(i)).into())
                .collect(),
            Self::Bf16 => (0..n)
                .map(|i| half::bf16::from_bits(half(i)).into())
                .collect(),
            Self::Block8 => {
                let mut values = vec![0; n];
                let mut bindings = Bindings::new();
                bindings.push_read(words);
                bindings.push_write(&mut values);
                Block8Unpack { range }.host(&mut bindings);
                bytemuck::cast_vec(values)
            }
        }
    }
}

/// The formats of a parameter's tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Formats {
    pub value: Format,
    /// Of both moments; none where the parameter is only used, and has neither gradient nor moments.
    pub moments: Option<Format>,
    /// Whether it is not on the device at all.
    pub absent: bool,
}

impl Formats {
    /// Of parameters that are trained.
    pub fn trained(o: &TrainOptions, config: &Config, list: &[Parameter]) -> Vec<Self> {
        let layers = quantized(o.recipe, config, list);
        let of = |(i, p): (usize, &Parameter)| {
            let holding = o.holding(config, i, p);
            let moments = match (p.kind, o.moments) {
                (Kind::Linear | Kind::Embedding, Moments::Bf16) => Format::Bf16,
                (Kind::Linear | Kind::Embedding, Moments::Block8) => Format::Block8,
                _ => Format::F32,
            };
            Self {
                value: match o.masters {
                    Masters::Bf16 if layers.contains(&i) => Format::Bf16,
                    _ => Format::F32,
                },
                moments: Some(moments).filter(|_| holding == Holding::Trained),
                absent: holding == Holding::Absent,
            }
        };
        list.iter().enumerate().map(of).collect()
    }

    /// Of a teacher's parameters, which are `holding` by their indices: layers are in f16, where products take that.
    pub fn used(list: &[Parameter], half: bool, holding: impl Fn(usize) -> Holding) -> Vec<Self> {
        let of = |(i, p): (usize, &Parameter)| Self {
            value: match p.kind {
                Kind::Linear if half => Format::F16,
                _ => Format::F32,
            },
            moments: None,
            absent: holding(i) == Holding::Absent,
        };
        list.iter().enumerate().map(of).collect()
    }

    /// Words of one of the three tensors of a parameter of `n` values.
    pub fn words(self, part: Part, n: usize) -> usize {
        match part {
            Part::Master if self.absent => 0,
            Part::Master => self.value.words(n),
            Part::First | Part::Second => self.moments.map_or(0, |format| format.words(n)),
        }
    }

    /// Of one of the three tensors.
    pub fn of(self, part: Part) -> Format {
        match part {
            Part::Master => self.value,
            Part::First | Part::Second => self.moments.unwrap_or(Format::F32),
        }
    }

    /// Whether an update goes through [`Portions`].
    fn packed(self) -> bool {
        self.moments
            .is_some_and(|moments| moments != Format::F32 || self.value != Format::F32)
    }
}

/// Most values that are unpacked at a time: a multiple of a block.
const PORTION: usize = 1 << 24;

/// f32 buffers for a portion of a parameter: moments, and a master in bf16.
pub(super) struct Portions<B: Backend> {
    values: usize,
    first: B::Buffer,
    second: B::Buffer,
    master: Option<B::Buffer>,
}

/// Values of a portion, and buffers of so many: 0 of both where everything is in f32.
fn portions(formats: &[Formats], list: &[Parameter]) -> [usize; 2] {
    let packed = list.iter().zip(formats).filter(|(_, f)| f.packed());
    let values = packed.map(|(p, _)| p.len()).max().unwrap_or(0);
    let masters = formats.iter().any(|f| f.value != Format::F32);
    let buffers = if masters { 3 } else { 2 };
    [values.min(PORTION), if values == 0 { 0 } else { buffers }]
}

/// Words of device memory of [`Portions`].
pub(super) fn portion_words(formats: &[Formats], list: &[Parameter]) -> usize {
    portions(formats, list).iter().product()
}

impl<B: Backend> Portions<B> {
    /// None where they are not needed.
    pub fn new(backend: &B, formats: &[Formats], list: &[Parameter]) -> Result<Option<Self>> {
        let [values, buffers] = portions(formats, list);
        if buffers == 0 {
            return Ok(None);
        }
        let alloc = |label: &str| backend.alloc(label, values);
        Ok(Some(Self {
            values,
            first: alloc("portion of a first moment")?,
            second: alloc("portion of a second moment")?,
            master: (buffers == 3)
                .then(|| alloc("portion of a master"))
                .transpose()?,
        }))
    }
}

/// Keeps this noise apart from all other numbers that follow from the same seed.
const ROUNDING: u64 = u64::from_be_bytes(*b"rounding");

/// The seed of the noise that a part of parameter `index` is rounded with in update number `step`.
fn seed(of: u64, step: u64, index: usize, part: Part) -> u32 {
    let place = 3 * index as u64 + part as u64;
    (random::at(random::at(of ^ ROUNDING, step), place) >> 32) as u32
}

/// A part of a tensor on its way between its format and f32.
struct Piece<'a, B: Backend> {
    packed: &'a B::Buffer,
    format: Format,
    plain: &'a B::Buffer,
    range: Range,
}

impl<B: Backend> Piece<'_, B> {
    async fn unpack(&self, backend: &B) -> Result<()> {
        let Range { n, first, .. } = self.range;
        let (range, buffers) = (self.range, [self.packed, self.plain]);
        match self.format {
            Format::Block8 => backend.run(&Block8Unpack { range }, &buffers).await,
            _ => backend.run(&Bf16Unpack { n, first }, &buffers).await,
        }
    }

    async fn pack(&self, backend: &B, seed: u32) -> Result<()> {
        let Range { n, first, .. } = self.range;
        let (range, buffers) = (self.range, [self.plain, self.packed]);
        match self.format {
            Format::Block8 => backend.run(&Block8Pack { range, seed }, &buffers).await,
            _ => backend.run(&Bf16Pack { n, first, seed }, &buffers).await,
        }
    }
}

impl<B: Backend> Trainer<B> {
    /// AdamW on parameter `index`.
    pub(super) async fn update_one(&self, index: usize, update: Update) -> Result<()> {
        let (held, n) = (&self.held[index], self.list[index].len());
        let Some(portions) = self.portions.as_ref().filter(|_| held.formats.packed()) else {
            let buffers = [&held.gradient, &held.value, &held.first, &held.second];
            return self.backend.run(&Adamw::whole(n, update), &buffers).await;
        };
        for first in (0..n).step_by(portions.values) {
            let n = portions.values.min(n - first);
            // what is unpacked begins at 0 of its buffer
            let place = |part| match held.formats.of(part) {
                Format::F32 => first,
                _ => 0,
            };
            let op = Adamw {
                n,
                update,
                gradient_first: first,
                x_first: place(Part::Master),
                moments_first: place(Part::First),
            };
            self.update_portion(index, portions, op).await?;
        }
        Ok(())
    }

    async fn update_portion(&self, index: usize, portions: &Portions<B>, op: Adamw) -> Result<()> {
        let (held, first) = (&self.held[index], op.gradient_first);
        let (mut pieces, mut buffers) = (Vec::new(), [&held.gradient; 4]);
        for (place, part) in Part::ALL.into_iter().enumerate() {
            let (packed, format) = (held.buffer(part), held.formats.of(part));
            let plain = match part {
                Part::Master => portions.master.as_ref().unwrap_or(packed),
                Part::First => &portions.first,
                Part::Second => &portions.second,
            };
            let range = Range {
                n: op.n,
                first,
                of: self.list[index].len(),
                positive: part == Part::Second,
            };
            let piece = Piece {
                packed,
                format,
                plain,
                range,
            };
            buffers[place + 1] = if format == Format::F32 { packed } else { plain };
            if format != Format::F32 {
                piece.unpack(&self.backend).await?;
                pieces.push((part, piece));
            }
        }
        let step = op.update.step;
        self.backend.run(&op, &buffers).await?;
        for (part, piece) in pieces {
            let seed = seed(self.options.seed, step, index, part);
            piece.pack(&self.backend, seed).await?;
        }
        Ok(())
    }
}
