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
mod host;
mod stored;
mod vector;

pub use bindings::Bindings;
pub use case::{Case, Data, hash32, noise, noise_u32};
pub use stored::Stored;

/// How a shader may use a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read only.
    Read,
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

/// Shorthand for a binding that is written.
pub const fn write(name: &'static str, elem: Elem) -> Binding {
    Binding {
        name,
        access: Access::Write,
        elem,
    }
}

/// Optional abilities of a device that a kernel may need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Needs {
    /// Subgroup operations.
    pub subgroup: bool,
    /// 16-bit floats in shaders.
    pub f16: bool,
}

impl Needs {
    /// The plain level every adapter has.
    pub const NONE: Self = Self {
        subgroup: false,
        f16: false,
    };
    /// Subgroup operations.
    pub const SUBGROUP: Self = Self {
        subgroup: true,
        f16: false,
    };

    /// Whether a device with `self` can run a kernel that needs `other`.
    pub fn covers(self, other: Self) -> bool {
        (self.subgroup || !other.subgroup) && (self.f16 || !other.f16)
    }
}

/// One WGSL kernel.
#[derive(Debug, Clone, Copy)]
pub struct Shader {
    /// File stem and entry point.
    pub stem: &'static str,
    /// The source: the kernel, then shared functions.
    pub source: &'static str,
    /// What the device must have.
    pub needs: Needs,
}

/// `shader!(Needs::NONE, "stem", "lib"...)`: the kernel `shaders/stem.wgsl`, then the named `shaders/lib` files.
/// The kernel comes first because `enable` must lead a module; declarations may come in any order.
macro_rules! shader {
    ($needs:expr, $stem:literal $(, $lib:literal)*) => {
        $crate::ops::Shader {
            stem: $stem,
            source: concat!(
                include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $stem, ".wgsl")),
                $("\n", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/lib/", $lib, ".wgsl")),)*
            ),
            needs: $needs,
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
    /// Kernels, best first; the last one needs nothing. All agree with the same reference.
    const SHADERS: &'static [Shader];
    /// Storage buffers in binding order, from `@binding(1)`.
    const BINDINGS: &'static [Binding];
    /// How exactly every kernel agrees with the reference.
    const AGREE: Agree;
    /// The uniform block.
    type Params: Pod;

    /// Contents of the uniform block.
    fn params(&self) -> Self::Params;
    /// Values of the pipeline's `override` constants.
    fn overrides(&self) -> Vec<(&'static str, f64)> {
        Vec::new()
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
}

/// The instruction set that the CPU backend's products use here, for people.
pub fn host_simd() -> &'static str {
    phase::host_simd()
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
pub mod attention_split;
pub mod baseline;
pub mod copy;
pub mod dense;
pub mod noise;
pub mod phase;
pub mod pointwise;
pub mod quantizer;
pub mod select;
pub mod widely;

list![
    activation::ActRound,
    activation::ActSnap,
    copy::Copy,
    phase::PhaseGemv,
    phase::PhaseGemm,
    phase::PhaseGemvFloat,
    phase::PhaseGemmFloat,
    noise::Noise,
    pointwise::TokenEmbed,
    pointwise::RmsNorm,
    pointwise::SwiGlu,
    attention::Rope,
    attention::Attention,
    attention_split::AttentionSplit,
    attention_split::AttentionMerge,
    dense::MatmulGemv,
    dense::MatmulGemm,
    select::Argmax,
    select::TopK,
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
];
