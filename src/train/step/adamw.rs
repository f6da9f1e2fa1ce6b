//! AdamW on one parameter, in whatever format its tensors are.

use super::Trainer;
use super::formats::{Format, Portions};
use crate::backend::Backend;
use crate::error::Result;
use crate::files::run::Part;
use crate::ops::train::block8::Range;
use crate::ops::train::{Adamw, Update};
use crate::ops::train::{Bf16Pack, Bf16Unpack};
use crate::ops::train::{Block8Pack, Block8Unpack};
use crate::random;

/// Keeps this noise apart from all other numbers that follow from the same seed.
const ROUNDING: u64 = u64::from_be_bytes(*b"rounding");

/// The seed of the noise that a part of parameter `index` is rounded with in update number `step`.
fn seed(of: u64, step: u64, index: usize, part: Part) -> u32 {
    let place = 3 * index as u64 + part as u64;
    (random::at(random::at(of ^ ROUNDING, step), place) >> 32) as u32
}

/// A range of a tensor on its way between its format and f32.
struct Piece<'a, B: Backend> {
    packed: &'a B::Buffer,
    format: Format,
    plain: &'a B::Buffer,
    range: Range,
}

impl<B: Backend> Piece<'_, B> {
    async fn unpack(&self, backend: &B) -> Result<()> {
        let Range { n, offset, .. } = self.range;
        let (range, buffers) = (self.range, [self.packed, self.plain]);
        match self.format {
            Format::Block8 => backend.run(&Block8Unpack { range }, &buffers).await,
            _ => backend.run(&Bf16Unpack { n, offset }, &buffers).await,
        }
    }

    async fn pack(&self, backend: &B, seed: u32) -> Result<()> {
        let Range { n, offset, .. } = self.range;
        let (range, buffers) = (self.range, [self.plain, self.packed]);
        match self.format {
            Format::Block8 => backend.run(&Block8Pack { range, seed }, &buffers).await,
            _ => backend.run(&Bf16Pack { n, offset, seed }, &buffers).await,
        }
    }
}

impl<B: Backend> Trainer<B> {
    /// Applies AdamW to parameter `index`.
    pub(super) async fn update_one(&self, index: usize, update: Update) -> Result<()> {
        let (tensors, n) = (&self.tensors[index], self.list[index].len());
        let Some(portions) = self.portions.as_ref().filter(|_| tensors.formats.packed()) else {
            let buffers = [
                &tensors.gradient,
                &tensors.value,
                &tensors.first,
                &tensors.second,
            ];
            return self.backend.run(&Adamw::whole(n, update), &buffers).await;
        };
        for first in (0..n).step_by(portions.values) {
            let n = portions.values.min(n - first);
            // Unpacked values begin at 0 of their buffer.
            let place = |part| match tensors.formats.of(part) {
                Format::F32 => first,
                _ => 0,
            };
            let op = Adamw {
                n,
                update,
                gradient_offset: first,
                x_offset: place(Part::Master),
                moments_offset: place(Part::First),
            };
            self.update_portion(index, portions, op).await?;
        }
        Ok(())
    }

    async fn update_portion(&self, index: usize, portions: &Portions<B>, op: Adamw) -> Result<()> {
        let (tensors, first) = (&self.tensors[index], op.gradient_offset);
        let (mut shards, mut buffers) = (Vec::new(), [&tensors.gradient; 4]);
        for (place, part) in Part::ALL.into_iter().enumerate() {
            let (packed, format) = (tensors.buffer(part), tensors.formats.of(part));
            let plain = match part {
                Part::Master => portions.master.as_ref().unwrap_or(packed),
                Part::First => &portions.first,
                Part::Second => &portions.second,
            };
            let range = Range {
                n: op.n,
                offset: first,
                total: self.list[index].len(),
                positive: part == Part::Second,
            };
            let shard = Piece {
                packed,
                format,
                plain,
                range,
            };
            buffers[place + 1] = if format == Format::F32 { packed } else { plain };
            if format != Format::F32 {
                shard.unpack(&self.backend).await?;
                shards.push((part, shard));
            }
        }
        let step = op.update.step;
        self.backend.run(&op, &buffers).await?;
        for (part, shard) in shards {
            let seed = seed(self.options.seed, step, index, part);
            shard.pack(&self.backend, seed).await?;
        }
        Ok(())
    }
}
