//! The memory that is announced is the memory that is allocated.

use super::teacher::Taken;
use super::{W2, config, options};
use fairy2i_gpu::Result;
use fairy2i_gpu::backend::{Backend, Cpu, DeviceFacts};
use fairy2i_gpu::model::Method;
use fairy2i_gpu::model::train::{Memory, Trainer};
use fairy2i_gpu::ops::Op;
use std::cell::Cell;

/// A CPU that counts what is allocated.
struct Counting {
    cpu: Cpu,
    facts: DeviceFacts,
    words: Cell<usize>,
}

impl Backend for Counting {
    type Buffer = <Cpu as Backend>::Buffer;

    fn facts(&self) -> &DeviceFacts {
        &self.facts
    }

    fn alloc(&self, label: &str, words: usize) -> Result<Self::Buffer> {
        self.words.set(self.words.get() + words);
        self.cpu.alloc(label, words)
    }

    fn upload(&self, buffer: &Self::Buffer, offset: usize, words: &[u32]) -> Result<()> {
        self.cpu.upload(buffer, offset, words)
    }

    async fn download<'a>(
        &'a self,
        buffer: &'a Self::Buffer,
        offset: usize,
        len: usize,
    ) -> Result<Vec<u32>> {
        self.cpu.download(buffer, offset, len).await
    }

    async fn run<O: Op>(&self, op: &O, buffers: &[&Self::Buffer]) -> Result<()> {
        self.cpu.run(op, buffers).await
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}

#[test]
fn announced_memory_is_what_is_allocated() -> Result<()> {
    for method in [Method::Full, W2, Method::Binary] {
        for checkpoint in [false, true] {
            let mut config = config();
            (config.hidden, config.intermediate, config.vocab) = (64, 200, 500);
            let mut options = options(method, checkpoint);
            (options.texts, options.length) = (3, 40);
            options.distill = if checkpoint { 0.5 } else { 0.0 };
            let counting = Counting {
                facts: DeviceFacts {
                    max_words: 1 << 20,
                    ..DeviceFacts::host("counting".to_owned())
                },
                cpu: Cpu::new(),
                words: Cell::new(0),
            };
            let announced = Memory::of(
                &config,
                &options,
                counting.facts().features,
                counting.facts().max_words,
            );
            let mut trainer = Trainer::from_scratch(&counting, &config, options, 0)?;
            if checkpoint {
                trainer.teach(&Taken::from(&trainer)?)?;
            }
            let allocated = 4 * counting.words.get();
            let off = announced.total().abs_diff(allocated) as f64 / allocated as f64;
            assert!(
                off < 0.01,
                "{method:?}: {} announced, {allocated}",
                announced.total()
            );
            assert_eq!(announced.masters * 2, announced.moments);
        }
    }
    Ok(())
}
