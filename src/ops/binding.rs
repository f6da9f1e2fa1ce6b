//! Buffers as a shader declares them.

/// How a shader may use a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read only.
    Read,
    /// Read only too, but declared as if it were written: drivers move loads from read-only buffers down to where the
    /// values are used, past all the work that was to hide how long they take.
    Prefetched,
    /// Read and written (also outputs that are only written).
    Write,
}

/// What the 32-bit words of a buffer hold; decides how results are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Elem {
    /// Integers, codes, packed bytes: compared bit by bit.
    U32,
    /// One f32 a word: compared by the op's [`super::Agree`].
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
pub const fn prefetched(name: &'static str, elem: Elem) -> Binding {
    Binding {
        name,
        access: Access::Prefetched,
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
