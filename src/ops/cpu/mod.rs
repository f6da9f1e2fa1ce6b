//! Shared by the CPU backend's versions of several ops: threads, and loops that become vector instructions.

mod threads;
mod vector;

pub(crate) use threads::*;
pub(in crate::ops) use vector::*;
