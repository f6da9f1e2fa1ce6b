//! Shared by the CPU backend's versions of several ops: threads, and loops that become vector instructions.

mod prefetch;
#[cfg(feature = "threads")]
mod team;
mod threads;
mod vector;

pub(in crate::ops) use prefetch::prefetch;
pub(crate) use threads::*;
pub(in crate::ops) use vector::*;
