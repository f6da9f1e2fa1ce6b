//! Rotary tables on a device.
//!
//! Most depend on positions alone. Those of some scalings depend on how long the sequence is: they are written anew before the
//! tokens of a step are rotated, for the positions of that step. Keys that are cached keep the rotation of their time, as in
//! Hugging Face's models.

use super::rope::{self, Angles};
use super::{Config, Rope, Rotary};
use crate::backend::{Backend, Fill};
use crate::error::Result;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Rotary tables on the device, `[context, rotated values / 2, 2]` f32 of (cos, sin).
pub(crate) struct Ropes<B: Backend> {
    main: B::Buffer,
    /// That of the layers that have another.
    local: Option<B::Buffer>,
    context: usize,
    /// The length of sequences for which all rows of the main table hold; 0 where there is none.
    length: AtomicUsize,
}

/// The sequence whose tokens are about to be rotated.
pub(crate) enum Length {
    /// Tokens at these positions of one that will have so many tokens when its prompt is read.
    Of(Range<usize>, usize),
    /// Tokens at these positions, each of which is the newest one of its sequence.
    Steps(Range<usize>),
    /// Sequences that share the table, and are treated as if they had so many tokens.
    Shared(usize),
}

impl<B: Backend> Ropes<B> {
    /// For sequences of `context` tokens.
    pub(crate) fn new(backend: &B, c: &Config, context: usize) -> Result<Self> {
        let width = c.rotary_dim();
        let table = |rope: &Rope| {
            let table = backend.alloc("rope table", context * width)?;
            let angles = rope::angles(rope, width, context);
            write(backend, &table, &angles, 0..context)?;
            Ok(table)
        };
        Ok(Self {
            main: table(&c.rope)?,
            local: c.variant.local_rope.as_ref().map(table).transpose()?,
            context,
            length: AtomicUsize::new(context),
        })
    }

    /// The table of layers that are rotated so; any, for those that are not.
    pub(crate) fn of(&self, rotary: Rotary) -> &B::Buffer {
        match (rotary, &self.local) {
            (Rotary::Local, Some(local)) => local,
            _ => &self.main,
        }
    }

    /// Makes the main table right for the tokens of the next step.
    pub(crate) fn fit(&self, backend: &B, c: &Config, length: Length) -> Result<()> {
        if !rope::depends_on_length(&c.rope) {
            return Ok(());
        }
        let angles = |length| rope::angles(&c.rope, c.rotary_dim(), length);
        let known = self.length.load(Ordering::Relaxed);
        let same = |length| known > 0 && angles(length) == angles(known);
        match length {
            Length::Of(_, length) | Length::Shared(length) if same(length) => Ok(()),
            Length::Shared(length) => {
                self.length.store(length, Ordering::Relaxed);
                write(backend, &self.main, &angles(length), 0..self.context)
            }
            Length::Of(positions, length) => {
                self.length.store(0, Ordering::Relaxed);
                write(backend, &self.main, &angles(length), positions)
            }
            Length::Steps(positions) => {
                self.length.store(0, Ordering::Relaxed);
                for position in positions {
                    let own = position..position + 1;
                    write(backend, &self.main, &angles(position + 1), own)?;
                }
                Ok(())
            }
        }
    }
}

/// Writes rows of a table, which never lies on the host as a whole.
fn write<B: Backend>(
    backend: &B,
    table: &B::Buffer,
    angles: &Angles,
    positions: Range<usize>,
) -> Result<()> {
    let width = 2 * angles.frequencies.len();
    let begin = positions.start;
    let fill = |first: usize, words: &mut [u32]| {
        rope::write(angles, begin + first, bytemuck::cast_slice_mut(words));
    };
    let rows = Fill::new(positions.len(), width, &fill);
    backend.upload_with(table, begin * width, &rows)
}
