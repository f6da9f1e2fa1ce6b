//! Parameters of kernels as Rust has them, with a list of their members that tests compare with the shader's.

use bytemuck::Pod;

/// What a member of a uniform block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scalar {
    /// A 32-bit integer without a sign.
    U32,
    /// A 32-bit integer with a sign.
    I32,
    /// A 32-bit float.
    F32,
}

/// One member of a uniform block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Its name, the same in Rust and WGSL.
    pub name: &'static str,
    /// Where it begins, in bytes.
    pub offset: usize,
    /// Its type.
    pub scalar: Scalar,
}

/// A uniform block whose members are known; `params!` declares one.
pub trait Fields: Pod {
    /// The members in their order.
    const FIELDS: &'static [Field];
}

/// Types that members can have.
pub(super) trait Member: Pod {
    /// The same as a value.
    const SCALAR: Scalar;
}

impl Member for u32 {
    const SCALAR: Scalar = Scalar::U32;
}

impl Member for i32 {
    const SCALAR: Scalar = Scalar::I32;
}

impl Member for f32 {
    const SCALAR: Scalar = Scalar::F32;
}

/// Declares the uniform block of a kernel: a `#[repr(C)]` struct of 4-byte scalars that implements [`Fields`].
macro_rules! params {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $($(#[$doc:meta])* $field_vis:vis $field:ident: $scalar:ty),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Debug, Clone, ::core::marker::Copy, ::bytemuck::Pod, ::bytemuck::Zeroable)]
        $vis struct $name {
            $($(#[$doc])* $field_vis $field: $scalar,)*
        }

        impl $crate::ops::Fields for $name {
            const FIELDS: &'static [$crate::ops::Field] = &[
                $($crate::ops::Field {
                    name: stringify!($field),
                    offset: ::std::mem::offset_of!($name, $field),
                    scalar: <$scalar as $crate::ops::params::Member>::SCALAR,
                },)*
            ];
        }
    };
}
