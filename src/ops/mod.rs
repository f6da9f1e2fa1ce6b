//! Every operation, declared once: its shader, its plain reference, its cases, its cost.
//!
//! An [`Op`] is a value that knows its shapes. Backends run it, the cross-check compares every backend with
//! [`Op::reference`] on [`Op::cases`], the bench divides [`Op::cost`] by time, and the shader tests translate
//! every pipeline: all of them walk [`for_each`]. A new kernel is its shader, its entry here, one word there.
//!
//! Shader contract: `@group(0) @binding(0)` is the uniform `Params`, bindings 1.. are [`Op::BINDINGS`] in
//! order, the entry point is the file stem. The grid is folded: the linear workgroup index is
//! `wg.x + wg.y * num_workgroups.x` (compare it with the number of groups), `wg.z` is the batch.

use bytemuck::Pod;

mod bindings;
mod case;
pub(crate) mod host;
mod kv;
mod large;
mod needs;
mod stored;
mod vector;

pub use bindings::Bindings;
pub use case::{Case, Data, hash32, noise, noise_u32};
pub use kv::Kv;
pub use large::{BenchCase, Made};
pub use needs::Needs;
pub use stored::Stored;

/// How a shader may use a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read only.
    Read,
    /// Read only too, but declared as if it were written: drivers move loads from read-only buffers down to where the
    /// values are used, past all the work that was to hide how long they take.
    Held,
    /// Read and written (also outputs that are only written).
    Write,
}

/// What the 32-bit words of a buffer hold; decides how results are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Elem {
    /// Integers, codes, packed bytes: compared bit by bit.
    U32,
    /// One f32 a word: compared by the op's [`Agree`].
    F32,
    /// Two f16 a word.
    F16x2,
}

/// One storage buffer of a shader.
#[derive(Debug, Clone, Copy)]
pub struct Binding {
    /// Name in the shader.
    pub name: &'static str,
    /// Access the shader declares.
    pub access: Access,
    /// Type of its elements.
    pub elem: Elem,
}

/// Shorthand for a binding that is only read.
pub const fn read(name: &'static str, elem: Elem) -> Binding {
    Binding {
        name,
        access: Access::Read,
        elem,
    }
}

/// Shorthand for a binding that is only read, and whose loads stay where the kernel has them.
pub const fn held(name: &'static str, elem: Elem) -> Binding {
    Binding {
        name,
        access: Access::Held,
        elem,
    }
}

/// Shorthand for a binding that is written.
pub const fn write(name: &'static str, elem: Elem) -> Binding {
    Binding {
        name,
        access: Access::Write,
        elem,
    }
}

/// Bytes of workgroup memory that a device must have to count as one with cooperative matrices.
pub(crate) const MATRIX_WORKGROUP_BYTES: usize = 48 << 10;

/// One WGSL kernel.
#[derive(Debug, Clone, Copy)]
pub struct Shader {
    /// Its name: the file's stem, and what the variant links in if that has several.
    pub stem: &'static str,
    /// File stem and entry point.
    pub entry: &'static str,
    /// The source: the kernel, then shared functions.
    pub source: &'static str,
    /// What the device must have.
    pub needs: Needs,
    /// Runs without the driver-side checks of every index: its indices stay within [`Op::lengths`], which are
    /// checked before each run. For the kernels where the checks cost a tenth of the time.
    pub unchecked: bool,
}

/// `shader!(Needs::NONE, "stem", "lib"...)`: the kernel `shaders/stem.wgsl`, then the named `shaders/lib` files.
/// The kernel comes first because `enable` must lead a module; declarations may come in any order.
macro_rules! shader {
    (unchecked $($rest:tt)*) => {
        $crate::ops::Shader {
            unchecked: true,
            ..shader!($($rest)*)
        }
    };
    ($needs:expr, $stem:literal $(, $lib:literal)*) => {
        shader!($needs, $stem as $stem $(, $lib)*)
    };
    ($needs:expr, $stem:literal as $variant:literal $(, $lib:literal)*) => {
        $crate::ops::Shader {
            stem: $variant,
            entry: $stem,
            source: concat!(
                include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $stem, ".wgsl")),
                $("\n", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/lib/", $lib, ".wgsl")),)*
            ),
            needs: $needs,
            unchecked: false,
        }
    };
}

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
    type Params: Pod;

    /// [`Op::AGREE`], or the bound that this value of the op has.
    fn agree(&self) -> Agree {
        Self::AGREE
    }
    /// Type of the elements of a binding, where it depends on the value.
    fn elem(&self, binding: usize) -> Elem {
        Self::BINDINGS[binding].elem
    }

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

/// The instruction set that the CPU backend's products use here, for people.
pub fn host_simd() -> &'static str {
    phase::host_simd()
}

/// How many threads the CPU backend works on: as many as there are processors, or `RAYON_NUM_THREADS`.
pub fn host_threads() -> usize {
    host::threads()
}

/// Something done with every op.
pub trait Visitor {
    /// Called once per op.
    fn visit<O: Op>(&mut self);
}

/// The list of all ops.
macro_rules! list {
    ($($op:ty),* $(,)?) => {
        /// Calls `visitor` for every op there is.
        pub fn for_each(visitor: &mut impl Visitor) {
            $(visitor.visit::<$op>();)*
        }
    };
}

pub mod activation;
pub mod attention;
pub mod attention_coop;
pub mod attention_split;
pub mod attention_step;
pub mod baseline;
pub mod calibrate;
pub mod copy;
pub mod dense;
pub mod dense_coop;
pub mod hadamard;
pub mod nll;
pub mod noise;
pub mod norm_half;
pub mod norm_round;
pub mod phase;
pub mod pointwise;
pub mod quantizer;
pub mod sample;
pub mod select;
pub mod train;
pub mod widely;

list![
    activation::ActRound,
    activation::ActSnap,
    norm_round::NormRound,
    norm_half::NormHalf,
    hadamard::Hadamard,
    copy::Copy,
    phase::PhaseGemv,
    phase::PhaseGemvRound,
    phase::PhaseGemm,
    phase::PhaseGemmBits,
    phase::PhaseGemvFloat,
    phase::PhaseGemmFloat,
    phase::PhaseGemmCoop,
    phase::PhaseExpand,
    noise::Noise,
    pointwise::TokenEmbed,
    pointwise::RmsNorm,
    pointwise::SwiGlu,
    attention::Rope,
    attention::Attention,
    attention_coop::AttentionCoop,
    attention_split::AttentionSplit,
    attention_split::AttentionMerge,
    attention_step::AttentionStep,
    dense::MatmulGemv,
    dense::MatmulGemm,
    dense_coop::MatmulGemmCoop,
    dense_coop::MatmulGemmCoopTall,
    select::Argmax,
    select::TopK,
    sample::Sample,
    nll::TokenNll,
    widely::WidelySplit,
    widely::WidelyMerge,
    quantizer::PhaseScale,
    quantizer::PhaseMean,
    quantizer::PhasePack,
    quantizer::PhaseUnpack,
    baseline::BaselineSum,
    baseline::BaselineMean,
    baseline::BaselinePack,
    baseline::BaselineUnpack,
    calibrate::Axpy,
    calibrate::Gather,
    calibrate::CholeskyBlock,
    calibrate::PhaseNearest,
    calibrate::PhaseFeedback,
    calibrate::PhaseProject,
    train::fill::Fill,
    train::blend::Blend,
    train::halve::Halve,
    train::matmul::MatmulTrain,
    train::coop::MatmulTrainCoop,
    train::softmax::Softmax,
    train::softmax::SoftmaxBackward,
    train::norm::RmsNormBackward,
    train::norm::RmsNormWeightBackward,
    train::rope::RopeTurn,
    train::scales::ScaleExp,
    train::scales::ScaleGradient,
    train::swiglu::SwigluBackward,
    train::embed::TokenEmbedBackward,
    train::loss::TokenLoss,
    train::distill::TokenDistill,
    train::optimizer::GradNorm,
    train::optimizer::Adamw,
    train::bf16::Bf16Pack,
    train::bf16::Bf16Unpack,
    train::block8::Block8Pack,
    train::block8::Block8Unpack,
];
