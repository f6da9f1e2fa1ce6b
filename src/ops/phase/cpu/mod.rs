//! The products on the host: threads over rows, vector kernels chosen at run time.
//!
//! A kernel only counts: it sums activations over the bit planes of the codes, in 32-bit integers. What surrounds
//! it ([`panel`]) is the same for all of them: codes lie in *panels* of as many rows as fill the lanes of the kernel's
//! registers (one lane per row and plane), where models were loaded for it ([`CodeLayout`]), or are packed into panels
//! on the way; and the sums of a panel are scaled and rounded once, exactly as the reference does ([`scale`]). CPUs
//! without a kernel use table look-ups ([`portable`]).
//!
//! The vector instructions come from `fearless_simd`: its tokens prove that the CPU has them, so that nothing here
//! is `unsafe`.

use super::{CodeLayout, PhaseShape};
use crate::ops::quantize::Activations;
use std::fmt;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    all(target_arch = "wasm32", target_feature = "simd128")
))]
mod bands;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    all(target_arch = "wasm32", target_feature = "simd128")
))]
mod panel;
mod portable;
#[cfg(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    all(target_arch = "wasm32", target_feature = "simd128")
))]
mod scale;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod simd128;
#[cfg(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    all(target_arch = "wasm32", target_feature = "simd128")
))]
mod words;

#[cfg(all(test, any(target_arch = "x86_64", target_arch = "aarch64")))]
mod tests;

pub(super) use portable::float;

/// A way to compute the integer products on this CPU.
#[derive(Clone, Copy)]
pub(crate) enum Kernel {
    /// Table look-ups in plain Rust.
    Portable,
    /// 32 bytes at a time, two instructions per multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2(fearless_simd::Avx2),
    /// 64 bytes at a time, one instruction per multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx512(fearless_simd::Avx512),
    /// 16 bytes at a time.
    #[cfg(target_arch = "aarch64")]
    Neon(fearless_simd::Neon),
    /// 16 bytes at a time.
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    Simd128(fearless_simd::wasm32::WasmSimd128),
}

impl Kernel {
    /// All kernels this CPU can run, the fastest first.
    pub(crate) fn available() -> Vec<Self> {
        let mut all = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            let level = fearless_simd::Level::new();
            all.extend(level.as_avx2().map(Self::Avx2));
            all.extend(level.as_avx512().map(Self::Avx512));
        }
        #[cfg(target_arch = "aarch64")]
        all.extend(fearless_simd::Level::new().as_neon().map(Self::Neon));
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        {
            let level = fearless_simd::Level::new();
            all.extend(level.as_wasm_simd128().map(Self::Simd128));
        }
        all.reverse();
        all
    }

    /// The fastest kernel of this CPU.
    pub(crate) fn best() -> Self {
        static BEST: std::sync::OnceLock<Kernel> = std::sync::OnceLock::new();
        *BEST.get_or_init(|| Self::available()[0])
    }

    /// How it reads codes without bringing them into another order first.
    pub(crate) fn layout(self) -> CodeLayout {
        match self {
            Self::Portable => CodeLayout::Rows,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => CodeLayout::Bytes,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => CodeLayout::Words {
                lanes: avx512::LANES,
            },
            #[cfg(target_arch = "aarch64")]
            Self::Neon(_) => CodeLayout::Words { lanes: neon::LANES },
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Self::Simd128(_) => CodeLayout::Words {
                lanes: simd128::LANES,
            },
        }
    }

    /// Its instruction set, for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "AVX2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => "AVX-512 VNNI",
            #[cfg(target_arch = "aarch64")]
            Self::Neon(_) => "NEON",
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Self::Simd128(_) => "SIMD128",
        }
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// [`super::PhaseGemv`] and [`super::PhaseGemm`] on the host, with the fastest kernel; the slices are their bindings.
pub(super) fn product(
    shape: &PhaseShape,
    mode: Activations,
    codes: &[u32],
    q: &[u32],
    absmax: &[f32],
    scale_blocks: &[u32],
    y: &mut [f32],
) {
    product_with(
        Kernel::best(),
        &Inputs {
            shape,
            mode,
            codes,
            q,
            absmax,
            scale_blocks,
        },
        y,
    );
}

/// What a product reads.
#[derive(Clone, Copy)]
struct Inputs<'a> {
    shape: &'a PhaseShape,
    mode: Activations,
    codes: &'a [u32],
    q: &'a [u32],
    absmax: &'a [f32],
    scale_blocks: &'a [u32],
}

fn product_with(kernel: Kernel, inputs: &Inputs<'_>, y: &mut [f32]) {
    // panels are compiled for these numbers of planes
    let compiled = (1..=4).contains(&inputs.shape.stages);
    let kernel = if compiled { kernel } else { Kernel::Portable };
    let layout = inputs.shape.layout;
    if layout != CodeLayout::Rows && layout != kernel.layout() {
        return product_by_rows(kernel, inputs, y);
    }
    match kernel {
        Kernel::Portable => portable::integer(inputs, y),
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx2(token) => match inputs.shape.planes() {
            // 64 rows of an odd number of planes, 32 rows of an even one
            1 => panel::product::<64>(token, inputs, y),
            3 => panel::product::<192>(token, inputs, y),
            2 => panel::product::<64>(token, inputs, y),
            4 => panel::product::<128>(token, inputs, y),
            6 => panel::product::<192>(token, inputs, y),
            _ => panel::product::<256>(token, inputs, y),
        },
        #[cfg(target_arch = "x86_64")]
        Kernel::Avx512(token) => panel::product(token, inputs, y),
        #[cfg(target_arch = "aarch64")]
        Kernel::Neon(token) => panel::product(token, inputs, y),
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        Kernel::Simd128(token) => panel::product(token, inputs, y),
    }
}

/// A product of codes that lie as another kernel reads them.
fn product_by_rows(kernel: Kernel, inputs: &Inputs<'_>, y: &mut [f32]) {
    let shape = PhaseShape {
        layout: CodeLayout::Rows,
        ..inputs.shape.clone()
    };
    let codes = inputs.shape.codes_by_rows(inputs.codes);
    let inputs = Inputs {
        shape: &shape,
        codes: &codes,
        ..*inputs
    };
    product_with(kernel, &inputs, y);
}
