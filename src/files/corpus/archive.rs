//! Files as streams of bytes, unpacked if they are .gz or .zst; decoders in Rust alone.

use crate::error::{Error, Result};
use crate::files::json::show;
use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::Path;

const BUFFER: usize = 1 << 18;
/// What `zstd --long` (27) and its highest levels need.
const LARGEST_WINDOW: u64 = 128 << 20;

/// Opens a file; the format follows from its name.
pub(super) fn open(path: &Path) -> Result<Box<dyn BufRead>> {
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    let file = BufReader::with_capacity(BUFFER, file);
    let ends = |end: &str| {
        path.extension()
            .is_some_and(|e| e.eq_ignore_ascii_case(end))
    };
    Ok(if ends("gz") {
        Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(file)))
    } else if ends("zst") {
        Box::new(BufReader::with_capacity(BUFFER, Frames::new(file)))
    } else {
        Box::new(file)
    })
}

/// The error of a stream: what the decoders say is about the file, what the system says is about the disk.
pub(super) fn bad(file: &str, error: std::io::Error) -> Error {
    if error.raw_os_error().is_some() {
        return Error::io(file, error);
    }
    let what = match error.kind() {
        ErrorKind::UnexpectedEof => "is truncated".to_owned(),
        _ => format!("cannot be unpacked: {}", show(&error.to_string())),
    };
    Error::file(file, what, "get the file again, or leave it out")
}

/// All frames of a Zstandard file; parallel compressors write several, and frames to be skipped between them.
struct Frames<R> {
    source: R,
    decoder: FrameDecoder,
    started: bool,
}

impl<R: BufRead> Frames<R> {
    fn new(source: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(LARGEST_WINDOW);
        Self {
            source,
            decoder,
            started: false,
        }
    }

    /// Goes to the next frame; false at the end of the file.
    fn start(&mut self) -> std::io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.init(&mut self.source) {
                Ok(()) => {
                    self.started = true;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let mut skipped = self.source.by_ref().take(length.into());
                    if std::io::copy(&mut skipped, &mut std::io::sink())? < length.into() {
                        return Err(ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(e) => return Err(std::io::Error::other(e)),
            }
        }
        Ok(false)
    }

    /// The library computes the sum of the frame but leaves comparing it to us.
    fn check(&self) -> std::io::Result<()> {
        let stored = self.decoder.get_checksum_from_data();
        if stored.is_some() && stored != self.decoder.get_calculated_checksum() {
            return Err(std::io::Error::other("the checksum is wrong"));
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            if !self.started && !self.start()? {
                return Ok(0);
            }
            if self.decoder.can_collect() > 0 {
                return self.decoder.read(buffer);
            }
            if self.decoder.is_finished() {
                self.check()?;
                self.started = false;
                continue;
            }
            let one = BlockDecodingStrategy::UptoBlocks(1);
            let decoded = self.decoder.decode_blocks(&mut self.source, one);
            decoded.map_err(std::io::Error::other)?;
        }
    }
}
