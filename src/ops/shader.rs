//! The kernels of an operation, put together from files of `shaders/`.

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
    pub needs: Features,
    /// Runs without the driver-side checks of every index: its indices stay within [`crate::ops::Op::lengths`], which are
    /// checked before each run. For the kernels where the checks cost a tenth of the time.
    pub unchecked: bool,
}

/// `shader!(Features::NONE, norm / "rms_norm", "reduce")`: the kernel `shaders/norm/rms_norm.wgsl`, then the named files of
/// `shaders/lib`. The kernel comes first because `enable` must lead a module; declarations may come in any order.
macro_rules! shader {
    (unchecked $($rest:tt)*) => {
        $crate::ops::Shader {
            unchecked: true,
            ..shader!($($rest)*)
        }
    };
    ($needs:expr, $wing:ident / $stem:literal $(, $lib:literal)*) => {
        shader!($needs, $wing / $stem as $stem $(, $lib)*)
    };
    ($needs:expr, $wing:ident / $stem:literal as $variant:literal $(, $lib:literal)*) => {
        $crate::ops::Shader {
            stem: $variant,
            entry: $stem,
            source: concat!(
                include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", stringify!($wing), "/", $stem, ".wgsl")),
                $("\n", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/lib/", $lib, ".wgsl")),)*
            ),
            needs: $needs,
            unchecked: false,
        }
    };
}
