//! The kernels of an operation, put together from files of `shaders/`.

use super::binding::{Access, Binding};
use super::features::Features;

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
    pub features: Features,
    /// Runs without the driver-side checks of every index: its indices stay within [`crate::ops::Op::lengths`], which are
    /// checked before each run. For the kernels where the checks cost a tenth of the time.
    pub unchecked: bool,
}

/// A library that exists for one compiler, and what stands for it where plain kernels are asked for.
macro_rules! stand_ins {
    ($($lib:literal),*) => {
        &[$((
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/lib/", $lib, ".wgsl")),
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/lib/plain/", $lib, ".wgsl")),
        )),*]
    };
}

/// Texts of libraries with tricks for compilers, each with the text of its stand-in.
const STAND_INS: &[(&str, &str)] = stand_ins![
    "bit_block",
    "gemm_stage",
    "gemv_prefetch",
    "quad",
    "round_bits"
];

impl Shader {
    /// Whether this kernel, which has these bindings, has tricks that [`Self::plain`] and checks of indices take away.
    pub fn has_tricks(&self, bindings: &[Binding]) -> bool {
        let prefetched = bindings.iter().any(|b| b.access == Access::Prefetched);
        let used = |&(trick, _): &(&str, &str)| self.source.contains(trick);
        self.unchecked || prefetched || STAND_INS.iter().any(used)
    }

    /// The kernel without what exists for one compiler only: its text with the stand-ins of libraries, and
    /// [`Access::Prefetched`] bindings declared as what they are, read only. Tests run it beside the kernel itself, to
    /// prove that the tricks change no bit. It is to run with checks, whatever [`Self::unchecked`] says.
    pub fn plain(&self, bindings: &[Binding]) -> String {
        let mut text = self.source.to_owned();
        for (trick, plain) in STAND_INS {
            text = text.replace(trick, plain);
        }
        for (i, b) in bindings.iter().enumerate() {
            if b.access == Access::Prefetched {
                let declared =
                    |access| format!("@binding({}) var<storage, {access}> {}:", i + 1, b.name);
                text = text.replace(&declared("read_write"), &declared("read"));
            }
        }
        text
    }
}

/// `shader!(Features::NONE, norm / "rms_norm", "reduce")`: the kernel `shaders/norm/rms_norm.wgsl`, then the named files of
/// `shaders/lib`. The kernel comes first because `enable` must lead a module. WGSL lets declarations
/// come in any order; here a library stands behind what it requires, which a test checks.
macro_rules! shader {
    (unchecked $($rest:tt)*) => {
        $crate::ops::Shader {
            unchecked: true,
            ..shader!($($rest)*)
        }
    };
    ($features:expr, $wing:ident / $stem:literal $(, $lib:literal)*) => {
        shader!($features, $wing / $stem as $stem $(, $lib)*)
    };
    ($features:expr, $wing:ident / $stem:literal as $variant:literal $(, $lib:literal)*) => {
        $crate::ops::Shader {
            stem: $variant,
            entry: $stem,
            source: concat!(
                include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", stringify!($wing), "/", $stem, ".wgsl")),
                $("\n", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/lib/", $lib, ".wgsl")),)*
            ),
            features: $features,
            unchecked: false,
        }
    };
}
