//! Element types of GGUF tensors: how many elements a block has, and in how many bytes.

/// How the elements of a tensor are stored: in blocks of neighbours of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockType {
    /// Its number in files.
    pub id: u32,
    /// Its name in llama.cpp.
    pub name: &'static str,
    /// Elements of a block.
    pub elements: u64,
    /// Bytes of a block.
    pub bytes: u64,
}

const fn block(id: u32, name: &'static str, elements: u64, bytes: u64) -> BlockType {
    BlockType {
        id,
        name,
        elements,
        bytes,
    }
}

/// What llama.cpp and everybody else mean by a number.
pub(super) const USUAL: [BlockType; 35] = [
    block(0, "F32", 1, 4),
    block(1, "F16", 1, 2),
    block(2, "Q4_0", 32, 18),
    block(3, "Q4_1", 32, 20),
    block(6, "Q5_0", 32, 22),
    block(7, "Q5_1", 32, 24),
    block(8, "Q8_0", 32, 34),
    block(9, "Q8_1", 32, 36),
    block(10, "Q2_K", 256, 84),
    block(11, "Q3_K", 256, 110),
    block(12, "Q4_K", 256, 144),
    block(13, "Q5_K", 256, 176),
    block(14, "Q6_K", 256, 210),
    block(15, "Q8_K", 256, 292),
    block(16, "IQ2_XXS", 256, 66),
    block(17, "IQ2_XS", 256, 74),
    block(18, "IQ3_XXS", 256, 98),
    block(19, "IQ1_S", 256, 50),
    block(20, "IQ4_NL", 32, 18),
    block(21, "IQ3_S", 256, 110),
    block(22, "IQ2_S", 256, 82),
    block(23, "IQ4_XS", 256, 136),
    block(24, "I8", 1, 1),
    block(25, "I16", 1, 2),
    block(26, "I32", 1, 4),
    block(27, "I64", 1, 8),
    block(28, "F64", 1, 8),
    block(29, "IQ1_M", 256, 56),
    block(30, "BF16", 1, 2),
    block(34, "TQ1_0", 256, 54),
    block(35, "TQ2_0", 256, 66),
    block(39, "MXFP4", 32, 17),
    block(40, "NVFP4", 64, 36),
    block(41, "Q1_0", 128, 18),
    block(42, "Q2_0", 64, 18),
];

/// What the numbers from 40 on mean in files of two-bit complex models, whose authors gave them out before llama.cpp did.
/// Elements are complex weights, and single bytes where codes and scales lie apart.
const COMPLEX: [BlockType; 4] = [
    block(40, "IFAIRY", 256, 68),
    block(42, "IFAIRY64", 64, 20),
    block(44, "FAIRY2I_TILE64_V2", 64, 20),
    block(46, "FAIRY2I_BUNDLE_CODES", 1, 1),
];

/// Architectures whose files use [`COMPLEX`].
const COMPLEX_ARCHITECTURES: [&str; 2] = ["fairy2i", "ifairy"];

/// The type that a file of `architecture` means by the number `id`.
pub(super) fn block_type(architecture: &str, id: u32) -> Option<BlockType> {
    let by_id = |all: &[BlockType]| all.iter().find(|kind| kind.id == id).copied();
    match COMPLEX_ARCHITECTURES.contains(&architecture) && id >= 40 {
        true => by_id(&COMPLEX),
        false => by_id(&USUAL),
    }
}

/// The type of codes that lie apart from their scales.
pub(super) const CODES: BlockType = COMPLEX[3];

/// The type of llama.cpp with this name.
pub fn named(name: &str) -> Option<BlockType> {
    USUAL.iter().find(|kind| kind.name == name).copied()
}
