//! Two backends in lockstep: every op runs on both, and the first disagreement stops everything.

use super::backend::Backend;
use super::compare::{Verdict, compare};
use super::cpu::{Cpu, CpuBuffer};
use super::facts::DeviceFacts;
use super::fill::Fill;
use crate::error::{Disagreement, Error, Result};
use crate::ops::{Access, Elem, Op};
use std::cell::{Cell, RefCell};
use std::ops::Range;

/// A device and the reference beside it. After each op the reference takes over the device's results, so that bounded
/// differences do not add up from op to op.
pub struct Lockstep<B: Backend> {
    device: B,
    reference: Cpu,
    facts: DeviceFacts,
    scope: RefCell<String>,
    compared: Cell<usize>,
}

impl<B: Backend> Lockstep<B> {
    /// Checks `device` against [`Op::reference`].
    pub fn new(device: B) -> Self {
        let name = format!("{}, checked against the reference", device.name());
        Self {
            facts: DeviceFacts {
                name,
                ..device.facts().clone()
            },
            device,
            reference: Cpu::reference(),
            scope: RefCell::default(),
            compared: Cell::new(0),
        }
    }

    /// The device that is checked.
    pub fn device(&self) -> &B {
        &self.device
    }

    /// How many ops were compared so far.
    pub fn compared(&self) -> usize {
        self.compared.get()
    }

    async fn check<O: Op>(
        &self,
        op: &O,
        index: usize,
        buffer: &(B::Buffer, CpuBuffer),
        len: usize,
    ) -> Result<()> {
        let binding = O::BINDINGS[index];
        let device = self.device.download(&buffer.0, 0, len).await?;
        let reference = self.reference.download(&buffer.1, 0, len).await?;
        if let Verdict::Differs { element, by } =
            compare(op.agree(), op.elem(index), &device, &reference)
        {
            let show = |words: &[u32]| match op.elem(index) {
                Elem::F32 => f32::from_bits(words[element]).to_string(),
                Elem::F16x2 => format!("{:#010x}", words[element / 2]),
                Elem::U32 => words[element].to_string(),
            };
            return Err(Error::Disagree(Box::new(Disagreement {
                place: self.scope.borrow().clone(),
                op: O::NAME,
                binding: binding.name,
                element,
                device: show(&device),
                reference: show(&reference),
                bound: format!("{by:e} where {:?} is promised", op.agree()),
            })));
        }
        self.reference.upload(&buffer.1, 0, &device)
    }
}

impl<B: Backend> Backend for Lockstep<B> {
    type Buffer = (B::Buffer, CpuBuffer);
    type Asked = B::Asked;

    fn facts(&self) -> &DeviceFacts {
        &self.facts
    }

    fn available(&self) -> Option<u64> {
        // every buffer lies in the host's memory too, beside the device's own
        let host = self.reference.available();
        if self.facts.on_host {
            return host.map(|bytes| bytes / 2);
        }
        [self.device.available(), host].into_iter().flatten().min()
    }

    fn runs<O: Op>(&self) -> bool {
        self.device.runs::<O>()
    }

    fn alloc(&self, label: &str, words: usize) -> Result<Self::Buffer> {
        Ok((
            self.device.alloc(label, words)?,
            self.reference.alloc(label, words)?,
        ))
    }

    fn upload(&self, buffer: &Self::Buffer, offset: usize, words: &[u32]) -> Result<()> {
        self.device.upload(&buffer.0, offset, words)?;
        self.reference.upload(&buffer.1, offset, words)
    }

    fn upload_with(&self, buffer: &Self::Buffer, offset: usize, fill: &Fill<'_>) -> Result<()> {
        self.device.upload_with(&buffer.0, offset, fill)?;
        self.reference.upload_with(&buffer.1, offset, fill)
    }

    async fn uploaded(&self) -> Result<()> {
        self.device.uploaded().await
    }

    fn ask(&self, runs: &[(&Self::Buffer, Range<usize>)]) -> Result<B::Asked> {
        let runs: Vec<_> = runs.iter().map(|(b, run)| (&b.0, run.clone())).collect();
        self.device.ask(&runs)
    }

    async fn answer<T>(&self, asked: B::Asked, read: impl FnOnce(&[u32]) -> T) -> Result<T> {
        self.device.answer(asked, read).await
    }

    async fn run<O: Op>(&self, op: &O, buffers: &[&Self::Buffer]) -> Result<()> {
        let device: Vec<_> = buffers.iter().map(|b| &b.0).collect();
        let reference: Vec<_> = buffers.iter().map(|b| &b.1).collect();
        self.device.run(op, &device).await?;
        self.reference.run(op, &reference).await?;
        for (index, len) in op.lengths().into_iter().enumerate() {
            if O::BINDINGS[index].access == Access::Write {
                self.check(op, index, buffers[index], len).await?;
            }
        }
        self.compared.set(self.compared.get() + 1);
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        self.device.flush()
    }

    fn scope(&self, name: &dyn Fn() -> String) {
        *self.scope.borrow_mut() = name();
    }

    fn wait(&self) -> Result<()> {
        self.device.wait()
    }
}
