//! Optional abilities of a device that kernels require.

/// What a device has, or what a kernel requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Features {
    /// Subgroup operations.
    pub subgroup: bool,
    /// 16-bit floats in shaders.
    pub f16: bool,
    /// 64-bit integers in shaders.
    pub int64: bool,
    /// 16-bit integers in shaders.
    pub int16: bool,
    /// Cooperative 16x16x16 matrices: f16 factors, f32 sums, subgroups of 32.
    pub matrix: bool,
}

impl Features {
    /// What every adapter has: none of them.
    pub const NONE: Self = Self {
        subgroup: false,
        f16: false,
        int64: false,
        int16: false,
        matrix: false,
    };
    /// Everything this crate knows how to use.
    pub const ALL: Self = Self {
        subgroup: true,
        f16: true,
        int64: true,
        int16: true,
        matrix: true,
    };
    /// Subgroup operations.
    pub const SUBGROUP: Self = Self {
        subgroup: true,
        ..Self::NONE
    };
    /// Subgroup operations and 64-bit integers.
    pub const SUBGROUP_INT64: Self = Self {
        subgroup: true,
        int64: true,
        ..Self::NONE
    };
    /// Cooperative matrices, with 16-bit floats and the integers that they are put together from.
    pub const MATRIX: Self = Self {
        f16: true,
        int16: true,
        matrix: true,
        ..Self::NONE
    };

    /// Whether a device with `self` can run a kernel that requires `other`.
    pub fn covers(self, other: Self) -> bool {
        (self.subgroup || !other.subgroup)
            && (self.f16 || !other.f16)
            && (self.int64 || !other.int64)
            && (self.int16 || !other.int16)
            && (self.matrix || !other.matrix)
    }

    /// What `self` requires and a device with `other` lacks.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self {
            subgroup: self.subgroup && !other.subgroup,
            f16: self.f16 && !other.f16,
            int64: self.int64 && !other.int64,
            int16: self.int16 && !other.int16,
            matrix: self.matrix && !other.matrix,
        }
    }

    /// What both have.
    pub fn both(self, other: Self) -> Self {
        Self {
            subgroup: self.subgroup && other.subgroup,
            f16: self.f16 && other.f16,
            int64: self.int64 && other.int64,
            int16: self.int16 && other.int16,
            matrix: self.matrix && other.matrix,
        }
    }
}
