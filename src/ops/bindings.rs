//! Buffers as a reference sees them: words of host memory, borrowed for one run.

use bytemuck::Pod;

enum Slot<'a> {
    Read(&'a [u32]),
    Write(&'a mut [u32]),
    Taken,
}

/// The buffers of one run on the host, in the order of [`super::Op::BINDINGS`].
pub struct Bindings<'a> {
    slots: Vec<Slot<'a>>,
}

impl<'a> Bindings<'a> {
    /// No buffers yet.
    pub fn new() -> Self {
        Self { slots: Vec::new() }
    }

    /// Adds the next buffer, read only.
    pub fn push_read(&mut self, words: &'a [u32]) {
        self.slots.push(Slot::Read(words));
    }

    /// Adds the next buffer, writable.
    pub fn push_write(&mut self, words: &'a mut [u32]) {
        self.slots.push(Slot::Write(words));
    }

    /// Buffer `index`, which the op only reads, as elements of a 4-byte type (or smaller).
    ///
    /// # Panics
    /// When the op declared the buffer writable: a mistake in the op that its cases bring to light.
    pub fn read<T: Pod>(&self, index: usize) -> &'a [T] {
        match self.slots[index] {
            Slot::Read(words) => bytemuck::cast_slice(words),
            _ => panic!("binding {index} is writable"),
        }
    }

    /// Buffer `index`, which the op writes; it can be taken once.
    ///
    /// # Panics
    /// When the op declared the buffer read-only, or took it already.
    pub fn write<T: Pod>(&mut self, index: usize) -> &'a mut [T] {
        match std::mem::replace(&mut self.slots[index], Slot::Taken) {
            Slot::Write(words) => bytemuck::cast_slice_mut(words),
            _ => panic!("binding {index} is not writable, or was taken"),
        }
    }
}

impl Default for Bindings<'_> {
    fn default() -> Self {
        Self::new()
    }
}
