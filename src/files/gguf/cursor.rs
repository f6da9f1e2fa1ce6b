//! Reading little-endian numbers and texts from the front of a byte slice, where every length is a claim.

/// Where a reader is in its bytes. What goes wrong is said without the name of the file, which the caller adds.
#[derive(Clone)]
pub(super) struct Cursor<'b> {
    bytes: &'b [u8],
    at: usize,
}

/// What is wrong, as the middle of a sentence about the file.
pub(super) type Read<T> = Result<T, String>;

impl<'b> Cursor<'b> {
    /// At the beginning of `bytes`.
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes that were read.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Bytes that are left.
    pub(super) fn left(&self) -> u64 {
        (self.bytes.len() - self.at) as u64
    }

    /// The next `n` bytes.
    pub(super) fn take(&mut self, n: u64) -> Read<&'b [u8]> {
        let end = usize::try_from(n).ok().and_then(|n| self.at.checked_add(n));
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or_else(|| {
            format!(
                "truncated: {n} bytes are claimed at byte {}, but the file has {}",
                self.at,
                self.bytes.len()
            )
        })?;
        self.at += taken.len();
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64)?);
        Ok(array)
    }

    pub(super) fn u8(&mut self) -> Read<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Read<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Read<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Read<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Text: its length in 64 bits, then its bytes, which must be UTF-8.
    pub(super) fn text(&mut self) -> Read<&'b str> {
        let length = self.u64()?;
        let at = self.at;
        std::str::from_utf8(self.take(length)?)
            .map_err(|e| format!("the text at byte {at} is not UTF-8: {e}"))
    }
}
