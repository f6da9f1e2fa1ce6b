//! SHA-256 as this project writes it: in lowercase hexadecimal digits.

use sha2::{Digest, Sha256};

/// SHA-256 of `bytes` in hexadecimal digits.
pub fn hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The bytes of a digest in hexadecimal digits.
pub(super) fn hex(digest: &[u8]) -> String {
    base16ct::lower::encode_string(digest)
}
