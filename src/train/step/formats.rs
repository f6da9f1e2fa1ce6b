//! In what format masters and moments stay on the device between steps.
//!
//! A step's arithmetic is in f32 always: moments and masters of fewer bits are unpacked a portion at a time, updated, and
//! packed again, with the random rounding of [`Bf16Pack`].

use super::options::TrainOptions;
use super::parameters::{Kind, Parameter, quantized};
use super::precision::{Masters, Moments};
use super::scope::Holding;
use super::shard::owners;
use crate::backend::Backend;
use crate::error::Result;
use crate::files::run::Part;
use crate::model::{Config, Form};
use crate::ops::train::Block8Unpack;
use crate::ops::train::bf16;
use crate::ops::train::block8::{self, Range};
use crate::ops::{Bindings, Op};

/// How the values of one tensor lie in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    F32,
    /// Two values in a word, as products take them.
    F16,
    /// Two values in a word.
    Bf16,
    /// Blocks of 256 values.
    Block8,
}

impl Format {
    /// Words of `n` values.
    pub(super) fn words(self, n: usize) -> usize {
        match self {
            Self::F32 => n,
            Self::F16 | Self::Bf16 => bf16::words(n),
            Self::Block8 => block8::words(n),
        }
    }

    /// The `n` values that these words hold; `positive`: they have no sign.
    pub(super) fn values(self, words: &[u32], n: usize, positive: bool) -> Vec<f32> {
        let half = |i: usize| (words[i / 2] >> (16 * (i % 2))) as u16;
        let range = Range::whole(n, positive);
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
    /// The format of both moments; none where the parameter is only used, and has neither gradient nor moments.
    pub moments: Option<Format>,
    /// Whether its value is not on the device.
    pub absent: bool,
    /// The rank that makes its updates; 0 where nothing is sharded.
    pub owner: usize,
    /// Whether that is this rank, which then has its moments on the device, if there are any.
    pub owned: bool,
}

impl Formats {
    /// The formats of parameters that are trained.
    pub(super) fn trained(o: &TrainOptions, config: &Config, list: &[Parameter]) -> Vec<Self> {
        let layers = quantized(o.recipe, config, list);
        let owners = owners(list, o.shard.map_or(1, |shard| shard.ranks));
        let of = |(i, p): (usize, &Parameter)| {
            let holding = o.holding(config, i, p);
            let owned = o.shard.is_none_or(|shard| owners[i] == shard.rank);
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
                absent: holding == Holding::Absent || !owned && layers.contains(&i),
                owner: owners[i],
                owned,
            }
        };
        list.iter().enumerate().map(of).collect()
    }

    /// The formats of a teacher's parameters, of which the device has what `holding` says. Layers are in f16 where products
    /// take that, unless their real matrices have to be made first.
    pub(super) fn used(
        list: &[Parameter],
        half: bool,
        holding: impl Fn(usize) -> Holding,
    ) -> Vec<Self> {
        let of = |(i, p): (usize, &Parameter)| Self {
            value: match p.kind {
                Kind::Linear if half && p.form == Form::WidelyLinear => Format::F16,
                _ => Format::F32,
            },
            moments: None,
            absent: holding(i) == Holding::Absent,
            owner: 0,
            owned: true,
        };
        list.iter().enumerate().map(of).collect()
    }

    /// Words of one of the three tensors of a parameter of `n` values.
    pub(super) fn words(self, part: Part, n: usize) -> usize {
        match part {
            Part::Master if self.absent => 0,
            Part::Master => self.value.words(n),
            Part::First | Part::Second if !self.owned => 0,
            Part::First | Part::Second => self.moments.map_or(0, |format| format.words(n)),
        }
    }

    /// The format of one of the three tensors.
    pub(super) fn of(self, part: Part) -> Format {
        match part {
            Part::Master => self.value,
            Part::First | Part::Second => self.moments.unwrap_or(Format::F32),
        }
    }

    /// Whether an update goes through [`Portions`].
    pub(super) fn packed(self) -> bool {
        self.moments
            .is_some_and(|moments| moments != Format::F32 || self.value != Format::F32)
    }
}

/// Most values that are unpacked at a time: a multiple of a block.
const PORTION: usize = 1 << 24;

/// f32 buffers for a portion of a parameter: moments, and a master in bf16.
pub(super) struct Portions<B: Backend> {
    pub values: usize,
    pub first: B::Buffer,
    pub second: B::Buffer,
    pub master: Option<B::Buffer>,
}

/// Values of a portion, and how many buffers have that size; both are 0 where everything is in f32.
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
    /// The buffers, or none where nothing has to be unpacked.
    pub(super) fn new(
        backend: &B,
        formats: &[Formats],
        list: &[Parameter],
    ) -> Result<Option<Self>> {
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
