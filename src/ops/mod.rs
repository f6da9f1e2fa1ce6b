//! Every operation, declared once: its shader, its plain reference, its cases, its cost.
//!
//! An [`Op`] is a value that knows its shapes. Backends run it, the cross-check compares every backend with
//! [`Op::reference`] on [`Op::cases`], the bench divides [`Op::cost`] by time, and the shader tests translate
//! every pipeline: all of them walk [`for_each`]. A new kernel is its shader, its entry here, one word there.
//!
//! Shader contract: `@group(0) @binding(0)` is the uniform `Params`, bindings 1.. are [`Op::BINDINGS`] in
//! order, the entry point is the file stem. The grid is folded: the linear workgroup index is
//! `wg.x + wg.y * num_workgroups.x` (compare it with the number of groups), `wg.z` is the batch.
//!
//! Wings: [`attention`], [`matmul`] (dense), [`phase`] (codes), [`norm`], [`embedding`], [`activation`], [`sampling`],
//! [`quantize`], [`calibrate`], [`memory`], [`train`]; `cpu` holds what references and the CPU backend share. The shaders
//! of a wing lie in the folder of the same name in `shaders/`.

#[macro_use]
mod params;
#[macro_use]
mod shader;
mod bench;
mod binding;
mod bindings;
pub(crate) mod cpu;
mod data;
mod features;
mod list;
mod matrix_dtype;
mod op;

pub mod activation;
pub mod attention;
pub mod calibrate;
pub mod embedding;
pub mod matmul;
pub mod memory;
pub mod norm;
pub mod phase;
pub mod quantize;
pub mod sampling;
pub mod train;

pub use attention::Kv;
pub use binding::{Access, Binding, Elem, prefetched, read, write};
pub use bindings::Bindings;
pub use data::{Data, Made, hash32, noise, noise_u32};
pub use features::Features;
pub use list::{Visitor, for_each};
pub use matrix_dtype::MatrixDtype;
pub use op::{Agree, BenchCase, Case, Cost, Grid, Op};
pub use params::{Field, Fields, Scalar};
pub(crate) use shader::MATRIX_WORKGROUP_BYTES;
pub use shader::Shader;

/// The instruction set that the CPU backend's products use here, for people.
pub fn host_simd() -> &'static str {
    phase::host_simd()
}

/// How the CPU backend's products with integer activations read codes here.
pub fn host_layout() -> phase::CodeLayout {
    phase::host_layout()
}

/// How many threads the CPU backend works on: as many as there are processors, or `RAYON_NUM_THREADS`.
pub fn host_threads() -> usize {
    cpu::threads()
}
