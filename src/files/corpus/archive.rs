//! Files as streams of bytes, unpacked if they are .gz or .zst; decoders in Rust alone.

use crate::error::{Error, Result};
use crate::files::json::show;
use crate::files::text::{self, UTF8_MARK};
use flate2::bufread::GzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, ErrorKind, Read};
use std::path::Path;

const BUFFER: usize = 1 << 18;
/// The first byte of every gzip member.
const GZIP: u8 = 0x1f;
/// What `zstd --long` (27) and its highest levels need.
const LARGEST_WINDOW: u64 = 128 << 20;

/// Opens a text file; what it is packed with follows from its name. A byte order mark is passed over.
///
/// # Errors
/// [`Error::File`] for a text in UTF-16, as [`bad`] otherwise.
pub(super) fn open_text(path: &Path) -> Result<Box<dyn BufRead>> {
    let name = show(&path.to_string_lossy());
    let mut source = open_bytes(path).map_err(|e| Error::io(path, e))?;
    let mut first = Vec::new();
    let read = source.by_ref().take(UTF8_MARK.len() as u64);
    let read = { read }.read_to_end(&mut first);
    read.map_err(|e| bad(&name, e))?;
    text::refuse_utf16(&name, &first)?;
    let first = if first == UTF8_MARK {
        Vec::new()
    } else {
        first
    };
    Ok(Box::new(Cursor::new(first).chain(source)))
}

/// [`open_text`], the byte order mark included.
fn open_bytes(path: &Path) -> std::io::Result<Box<dyn BufRead>> {
    let file = BufReader::with_capacity(BUFFER, File::open(path)?);
    let ends = |end: &str| {
        path.extension()
            .is_some_and(|e| e.eq_ignore_ascii_case(end))
    };
    Ok(if ends("gz") {
        Box::new(BufReader::with_capacity(BUFFER, Members::new(file)))
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

/// All members of a gzip file. Zeros behind a member are passed over, as gzip and Python do: tapes and block devices
/// fill up with them. Anything else behind one is an error.
struct Members<R: BufRead> {
    /// `None` only between two members.
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Members<R> {
    fn new(source: R) -> Self {
        Self {
            member: Some(GzDecoder::new(source)),
        }
    }

    /// Goes to the next member; false at the end of the file.
    fn next(&mut self) -> std::io::Result<bool> {
        let Some(mut source) = self.member.take().map(GzDecoder::into_inner) else {
            return Ok(false);
        };
        loop {
            let buffer = source.fill_buf()?;
            let zeros = buffer.iter().take_while(|&&b| b == 0).count();
            let (empty, next) = (buffer.is_empty(), buffer.get(zeros).copied());
            source.consume(zeros);
            match next {
                None if empty => return Ok(false),
                None => {}
                Some(GZIP) => break,
                Some(_) => {
                    let what = "what follows the packed text is no gzip";
                    return Err(std::io::Error::new(ErrorKind::InvalidData, what));
                }
            }
        }
        self.member = Some(GzDecoder::new(source));
        Ok(true)
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while let Some(member) = &mut self.member {
            let read = member.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            self.next()?;
        }
        Ok(0)
    }
}

/// All frames of a Zstandard file; parallel compressors write several, and frames to be skipped between them.
pub(super) struct Frames<R> {
    source: R,
    decoder: FrameDecoder,
    started: bool,
}

impl<R: BufRead> Frames<R> {
    pub(super) fn new(source: R) -> Self {
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
