//! Files that JavaScript gave to the worker: they are read where they lie, a tensor at a time.

use super::failed;
use crate::error::Result;
use crate::files::{Contents, ReadAt};
use js_sys::{Array, Uint8Array};
use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{Blob, FileReaderSync};

thread_local! {
    /// The blobs of this worker. Values of JavaScript belong to one thread, and files of a model to any: so files hold
    /// numbers.
    static BLOBS: RefCell<Vec<Blob>> = const { RefCell::new(Vec::new()) };
}

/// One of [`BLOBS`].
struct OfPage {
    number: usize,
    size: usize,
}

impl ReadAt for OfPage {
    fn size(&self) -> usize {
        self.size
    }

    fn read_at(&self, range: Range<usize>) -> std::io::Result<Vec<u8>> {
        let blob = BLOBS.with_borrow(|blobs| blobs.get(self.number).cloned());
        let blob = blob.ok_or_else(|| std::io::Error::other("it belongs to another worker"))?;
        let read = || -> Result<Vec<u8>, JsValue> {
            let part = blob.slice_with_f64_and_f64(range.start as f64, range.end as f64)?;
            let bytes = FileReaderSync::new()?.read_as_array_buffer(&part)?;
            Ok(Uint8Array::new(&bytes).to_vec())
        };
        let bytes = read().map_err(|thrown| {
            let error = failed("reading", &thrown);
            std::io::Error::other(error.to_string())
        })?;
        match bytes.len() == range.len() {
            true => Ok(bytes),
            false => Err(std::io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// The names and contents of an array of `[name, blob]`.
pub(super) fn files(array: &Array) -> Result<Vec<(String, Contents)>> {
    array.iter().map(|pair| file(&Array::from(&pair))).collect()
}

fn file(pair: &Array) -> Result<(String, Contents)> {
    let name = pair.get(0).as_string().unwrap_or_default();
    let blob: Blob = pair
        .get(1)
        .dyn_into()
        .map_err(|other| failed("files are pairs of a name and a blob", &other))?;
    // beyond 4 GB a file has no place in the memory of WebAssembly, and its header claims more than there is
    let size = blob.size() as usize;
    let number = BLOBS.with_borrow_mut(|blobs| {
        blobs.push(blob);
        blobs.len() - 1
    });
    Ok((name, Contents::There(Arc::new(OfPage { number, size }))))
}
