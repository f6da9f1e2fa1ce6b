//! The host as a backend: buffers are words in memory, ops run their references or something faster.

use super::backend::{Backend, check_lengths};
use super::facts::DeviceFacts;
use super::fill::Fill;
use super::host;
use super::words::Words;
use crate::error::{Error, Result};
use crate::ops::{Access, Bindings, Op};
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

/// Host memory. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Cpu {
    facts: Arc<DeviceFacts>,
    plain: bool,
}

impl Default for Cpu {
    fn default() -> Self {
        Self::new()
    }
}

impl Cpu {
    /// The CPU backend: [`Op::host`] for every op.
    pub fn new() -> Self {
        Self::with(false)
    }

    /// The oracle: [`Op::reference`] for every op, however slow.
    pub fn reference() -> Self {
        Self::with(true)
    }

    fn with(plain: bool) -> Self {
        let (threads, simd) = (crate::ops::host_threads(), crate::ops::host_simd());
        let name = format!("CPU ({threads} threads, {simd})");
        Self {
            facts: Arc::new(DeviceFacts::host(name)),
            plain,
        }
    }
}

/// Words in host memory.
#[derive(Debug, Clone)]
pub struct CpuBuffer(Arc<RwLock<Words>>);

enum Guard<'a> {
    Read(std::sync::RwLockReadGuard<'a, Words>),
    Write(std::sync::RwLockWriteGuard<'a, Words>),
}

impl Backend for Cpu {
    type Buffer = CpuBuffer;
    type Asked = Vec<u32>;

    fn facts(&self) -> &DeviceFacts {
        &self.facts
    }

    fn available(&self) -> Option<u64> {
        host::available()
    }

    fn alloc(&self, label: &str, words: usize) -> Result<CpuBuffer> {
        let zeros = Words::zeroed(words).ok_or_else(|| {
            Error::device(
                format!(
                    "`{label}` needs {} bytes of memory, which the system does not give",
                    4 * words as u128
                ),
                "close other programs, take a shorter context or smaller batches",
            )
        })?;
        Ok(CpuBuffer(Arc::new(RwLock::new(zeros))))
    }

    fn upload(&self, buffer: &CpuBuffer, offset: usize, words: &[u32]) -> Result<()> {
        let mut target = buffer.0.write().unwrap_or_else(PoisonError::into_inner);
        target[offset..offset + words.len()].copy_from_slice(words);
        Ok(())
    }

    fn upload_with(&self, buffer: &CpuBuffer, offset: usize, fill: &Fill<'_>) -> Result<()> {
        let mut target = buffer.0.write().unwrap_or_else(PoisonError::into_inner);
        fill.write(0, &mut target[offset..offset + fill.words()]);
        Ok(())
    }

    fn ask(&self, runs: &[(&CpuBuffer, Range<usize>)]) -> Result<Vec<u32>> {
        let mut all = Vec::with_capacity(runs.iter().map(|(_, run)| run.len()).sum());
        for (buffer, run) in runs {
            let words = buffer.0.read().unwrap_or_else(PoisonError::into_inner);
            all.extend_from_slice(&words[run.clone()]);
        }
        Ok(all)
    }

    async fn answer<T>(&self, asked: Vec<u32>, read: impl FnOnce(&[u32]) -> T) -> Result<T> {
        Ok(read(&asked))
    }

    async fn run<O: Op>(&self, op: &O, buffers: &[&CpuBuffer]) -> Result<()> {
        let mut guards: Vec<Guard<'_>> = buffers
            .iter()
            .zip(O::BINDINGS)
            .map(|(buffer, binding)| match binding.access {
                Access::Read | Access::Prefetched => {
                    Guard::Read(buffer.0.read().unwrap_or_else(PoisonError::into_inner))
                }
                Access::Write => {
                    Guard::Write(buffer.0.write().unwrap_or_else(PoisonError::into_inner))
                }
            })
            .collect();
        check_lengths(
            op,
            guards.iter().map(|g| match g {
                Guard::Read(g) => g.len(),
                Guard::Write(g) => g.len(),
            }),
        )?;
        let mut bindings = Bindings::new();
        for guard in &mut guards {
            match guard {
                Guard::Read(g) => bindings.push_read(g),
                Guard::Write(g) => bindings.push_write(g),
            }
        }
        if self.plain {
            op.reference(&mut bindings);
        } else {
            op.host(&mut bindings);
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}
