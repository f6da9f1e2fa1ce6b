//! What an operation is: the declaration that backends, tests and the bench walk.

use super::binding::{Binding, Elem};
use super::bindings::Bindings;
use super::data::{Data, Made};
use super::params::Fields;
use super::shader::Shader;

/// How far a device may be from the reference. Never widened to make a test pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Agree {
    /// The same bits.
    Bits,
    /// Every f32 within so many units in the last place.
    Ulp(u32),
    /// `sum (a - b)^2 / sum b^2` over a buffer at most this.
    Nmse(f64),
}

/// Bytes that must move and arithmetic operations that must be done, at least.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cost {
    /// Bytes read and written, each element once.
    pub bytes: f64,
    /// Arithmetic operations (a multiply-add counts two).
    pub ops: f64,
}

/// Workgroups of a dispatch: `groups` of them, folded over x and y as limits ask, times `batch` in z.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Linear number of workgroups.
    pub groups: u32,
    /// Repetitions in z, at most 65535.
    pub batch: u32,
}

/// Elements that one workgroup of an element-wise kernel covers.
const WIDTH: usize = 256;

impl Grid {
    /// Workgroups of an element-wise kernel for so many elements.
    pub(super) fn element_wise(elements: usize) -> Self {
        Self {
            groups: elements.div_ceil(WIDTH) as u32,
            batch: 1,
        }
    }
}

/// An operation with its shapes: see the module's page.
pub trait Op: Clone + 'static {
    /// Name in messages, tests and benches: the stem of the plain shader.
    const NAME: &'static str;
    /// Kernels, best first; all agree with the same reference. Where none runs on a device, the model takes other ops.
    const SHADERS: &'static [Shader];
    /// Storage buffers in binding order, from `@binding(1)`.
    const BINDINGS: &'static [Binding];
    /// How exactly every kernel agrees with the reference.
    const AGREE: Agree;
    /// The uniform block.
    type Params: Fields;

    /// [`Op::AGREE`], or the bound that this value of the op has.
    fn agree(&self) -> Agree {
        Self::AGREE
    }
    /// Type of the elements of a binding, where it depends on the value.
    fn elem(&self, binding: usize) -> Elem {
        Self::BINDINGS[binding].elem
    }

    /// Shapes and settings as people and tests read them: `m=16,n=1,k=256`.
    fn shape(&self) -> String;

    /// Contents of the uniform block.
    fn params(&self) -> Self::Params;
    /// Values of the pipeline's `override` constants.
    fn overrides(&self) -> Vec<(&'static str, f64)> {
        Vec::new()
    }
    /// WGSL declarations this op adds to its kernels: types that overrides cannot choose.
    fn prelude(&self) -> &'static str {
        ""
    }
    /// Workgroups to start.
    fn grid(&self) -> Grid;
    /// 32-bit words each binding must at least have.
    fn lengths(&self) -> Vec<usize>;
    /// What it must cost.
    fn cost(&self) -> Cost;
    /// What it means: plain loops, f64 where floats are summed.
    fn reference(&self, b: &mut Bindings<'_>);
    /// What the CPU backend runs: the reference, or something faster that agrees with it.
    fn host(&self, b: &mut Bindings<'_>) {
        self.reference(b);
    }
    /// Inputs on which every backend is compared with the reference.
    fn cases() -> Vec<Case<Self>>;
    /// Inputs of realistic size, for `bench ops` on real GPUs; none: the bench takes the largest of the cases.
    fn bench_cases() -> Vec<BenchCase<Self>> {
        Vec::new()
    }
}

/// One op with inputs.
#[derive(Debug, Clone)]
pub struct Case<O: Op> {
    /// What is special about its values, in the form of [`Op::shape`]: `data=ties`; or nothing.
    pub note: String,
    /// The op with its shapes.
    pub op: O,
    /// One entry per binding.
    pub data: Vec<Data>,
}

impl<O: Op> Case<O> {
    /// A case; `data` in the order of the op's bindings.
    pub fn new(note: impl Into<String>, op: O, data: Vec<Data>) -> Self {
        Self {
            note: note.into(),
            op,
            data,
        }
    }

    /// Its name, which no other case of the op has: the shape, then what is special.
    pub fn name(&self) -> String {
        name(&self.op, &self.note)
    }
}

/// One op of realistic size.
#[derive(Debug, Clone)]
pub struct BenchCase<O: Op> {
    /// Which part of a model it is, in the form of [`Op::shape`]: `layer=down`; or nothing.
    pub note: String,
    /// The op with its shapes.
    pub op: O,
    /// One entry per binding.
    pub data: Vec<Made>,
}

impl<O: Op> BenchCase<O> {
    /// Its name: the shape, then the part of a model.
    pub fn name(&self) -> String {
        name(&self.op, &self.note)
    }
}

fn name<O: Op>(op: &O, note: &str) -> String {
    let shape = op.shape();
    let both = [shape.as_str(), note];
    let named = both.into_iter().filter(|part| !part.is_empty());
    named.collect::<Vec<_>>().join(",")
}
