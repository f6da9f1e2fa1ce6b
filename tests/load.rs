//! Loading: what arrives on a device is what the plain path would have written, whatever the sizes.

mod common;
#[path = "load/memory.rs"]
mod memory;

use common::devices;
use fairy2i_gpu::Result;
use fairy2i_gpu::backend::{Backend, Device, DeviceFacts, Fill, Gpu, Options, adapters, block_on};
use fairy2i_gpu::codebook;
use fairy2i_gpu::files::{self, packed::Writer, staging::Destination};
use fairy2i_gpu::model::{Granularity, LoadOptions, Method, Model, Recipe, Tensor, quantize};
use fairy2i_gpu::ops::quantize::Activations;
use fairy2i_gpu::ops::{Op, hash32, phase};
use std::ops::Range;
use std::path::Path;

/// A backend without an upload of its own for filled rows: everything goes through [`Backend::upload`].
struct Plain<B>(B);

impl<B: Backend> Backend for Plain<B> {
    type Buffer = B::Buffer;
    type Asked = B::Asked;

    fn facts(&self) -> &DeviceFacts {
        self.0.facts()
    }

    fn alloc(&self, label: &str, words: usize) -> Result<B::Buffer> {
        self.0.alloc(label, words)
    }

    fn upload(&self, buffer: &B::Buffer, offset: usize, words: &[u32]) -> Result<()> {
        // in shares that never pass through the staging ring either
        for (i, share) in words.chunks(10_000).enumerate() {
            self.0.upload(buffer, offset + i * 10_000, share)?;
        }
        Ok(())
    }

    fn ask(&self, runs: &[(&B::Buffer, Range<usize>)]) -> Result<B::Asked> {
        self.0.ask(runs)
    }

    async fn answer<T>(&self, asked: B::Asked, read: impl FnOnce(&[u32]) -> T) -> Result<T> {
        self.0.answer(asked, read).await
    }

    async fn run<O: Op>(&self, op: &O, buffers: &[&B::Buffer]) -> Result<()> {
        self.0.run(op, buffers).await
    }

    fn flush(&self) -> Result<()> {
        self.0.flush()
    }

    fn wait(&self) -> Result<()> {
        self.0.wait()
    }
}

/// Rows of any length land at their place, and nothing around them changes; the last case goes round the whole
/// ring of staging buffers, twice in a row.
#[test]
fn filled_rows_arrive() {
    let _one = common::one_at_a_time();
    for device in devices() {
        for (rows, row_words, offset) in [
            (3, 5, 0),
            (70_000, 1, 3),
            (131, 1003, 64),
            (9, 500_001, 1),
            (20_000, 1100, 8),
        ] {
            let words = rows * row_words;
            let buffer = device.alloc("filled", offset + words + 5).expect("fits");
            let last = words + offset..words + offset + 5;
            device
                .upload(&buffer, last.start, &[7; 5])
                .expect("written");
            for seed in [1, 2] {
                let write = |first: usize, to: &mut [u32]| {
                    for (i, w) in to.iter_mut().enumerate() {
                        *w = hash32((first * row_words + i) as u32, seed);
                    }
                };
                let fill = Fill::new(rows, row_words, &write);
                device
                    .upload_with(&buffer, offset, &fill)
                    .expect("uploaded");
            }
            let back = device.download(&buffer, 0, last.end);
            let back = block_on(&device, back).expect("read");
            assert!(back[..offset].iter().all(|&w| w == 0));
            let wrong = (0..words).find(|&i| back[offset + i] != hash32(i as u32, 2));
            assert_eq!(wrong, None, "{rows} x {row_words} on {}", device.name());
            assert_eq!(back[last], [7; 5]);
        }
    }
}

/// What the kernels read together lies together: a word of all terms; of four terms, what a column has in a byte.
#[test]
fn codes_are_interleaved() {
    for terms in [1, 2, 3, 4, 6, 8] {
        for words in [1, 7, 128] {
            let codes: Vec<u32> = (0..3 * terms * words)
                .map(|i| hash32(i as u32, 3))
                .collect();
            let out = phase::interleaved(&codes, terms, words);
            for (i, &code) in codes.iter().enumerate() {
                let (row, term, word) = (i / words / terms, i / words % terms, i % words);
                let cell = &out[(row * words + word) * terms..][..terms];
                if !terms.is_multiple_of(4) {
                    assert_eq!(cell[term], code);
                    continue;
                }
                for column in 0..16 {
                    let symbol = code >> codebook::shift_of(column) & 3;
                    let byte = cell[term / 4 * 4 + column / 4].to_le_bytes()[column % 4];
                    assert_eq!(u32::from(byte >> (2 * (term % 4)) & 3), symbol);
                }
            }
        }
    }
}

const RECIPE: Recipe = Recipe {
    method: Method::Phase { stages: 2 },
    granularity: Granularity::Row,
    skip_head: false,
    rotated: false,
};

/// The test model, packed into `folder`.
fn pack(folder: &Path) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/models/stories260k");
    let opened = files::open(path).expect("the test model opens");
    let to = Destination::new(folder, "quantize");
    let mut writer = Writer::create(&to, opened.original(), RECIPE, 1 << 30).unwrap();
    let cpu = fairy2i_gpu::backend::Cpu::new();
    for layer in opened.config.linears() {
        let name = opened.config.dense_name(&layer.prefix);
        let tensor = opened.weights.tensor(&name).unwrap().expect("there");
        let values = tensor.to_f32(0..tensor.elements());
        let (rows, columns) = (layer.out_features, layer.in_features);
        let (method, granularity) = (RECIPE.method, RECIPE.granularity);
        let packed = quantize(
            &cpu,
            &name,
            &values,
            layer.form,
            rows,
            columns,
            method,
            granularity,
            false,
        );
        let packed = block_on(&cpu, packed).unwrap();
        writer.linear(&layer.prefix, &packed).unwrap();
    }
    writer.finish().unwrap();
}

const LOAD: LoadOptions = LoadOptions {
    recipe: RECIPE,
    activations: Activations::Int16,
    context: 32,
    batch: 16,
    kv: None,
    swa_full: false,
    exact: false,
};

async fn logits<B: Backend>(backend: &B, folder: &Path) -> Result<Vec<f32>> {
    let opened = files::open(folder)?;
    let weights = &*opened.weights;
    let model = Model::load(backend, &opened.config, weights, LOAD, &mut |_| {}).await?;
    let mut session = model.session()?;
    session.prepare(&[5]).await?;
    assert_eq!(session.position(), 0);
    session.feed(&[1, 403, 407, 261, 378]).await?;
    session.logits().await
}

#[test]
fn a_mapped_model_is_the_one_that_was_copied() {
    let _one = common::one_at_a_time();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path().join("packed");
    pack(&folder);
    for device in devices() {
        let name = device.name();
        let mapped = block_on(&device, logits(&device, &folder)).unwrap();
        let plain = Plain(device);
        let copied = block_on(&plain, logits(&plain, &folder)).unwrap();
        assert_eq!(mapped, copied, "{name}");
    }
}

/// What was brought to the device does not lie in memory once more: of the mapped file no more than a few pages are left.
#[cfg(target_os = "linux")]
#[test]
fn a_loaded_model_lies_in_memory_once() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path().join("packed");
    pack(&folder);
    let file = folder.join("model.safetensors");
    let bytes = std::fs::metadata(&file).expect("a file").len();
    let device = Device::cpu();
    let opened = files::open(&folder).expect("it opens");
    let resident = || {
        let maps = std::fs::read_to_string("/proc/self/smaps").expect("Linux tells");
        let mut lines = maps.lines();
        let name = file.to_string_lossy();
        lines
            .find(|line| line.ends_with(&*name))
            .expect("it is mapped");
        let rss = lines
            .find_map(|line| line.strip_prefix("Rss:"))
            .expect("a size");
        let kilobytes = rss.trim().trim_end_matches("kB").trim();
        1024 * kilobytes.parse::<u64>().expect("a number")
    };
    let weights = &*opened.weights;
    let embed = weights
        .tensor("model.embed_tokens.weight")
        .expect("it reads");
    let sum = |tensor: &Tensor<'_>| tensor.bytes.iter().map(|&b| u64::from(b)).sum::<u64>();
    let before = embed.as_ref().map(sum);
    assert!(resident() > bytes / 8, "{} of {bytes}", resident());
    let mut quiet = |_: &str| {};
    let model = Model::load(&device, &opened.config, weights, LOAD, &mut quiet);
    let model = block_on(&device, model).expect("it loads");
    assert!(resident() <= bytes / 8, "{} of {bytes}", resident());
    assert_eq!(
        embed.as_ref().map(sum),
        before,
        "what is read again is the same"
    );
    drop(model);
}

/// Compiled kernels are kept, used again, and never trusted when they are damaged.
#[test]
fn compiled_kernels_are_kept() {
    let _one = common::one_at_a_time();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let packed = folder.path().join("packed");
    pack(&packed);
    for (index, summary) in pollster::block_on(adapters()).iter().enumerate() {
        let run = |cache: Option<&Path>| {
            let options = Options {
                cache: cache.map(Path::to_owned),
                ..Options::default()
            };
            let gpu = pollster::block_on(Gpu::open(index, options)).expect("opens");
            block_on(&gpu, logits(&gpu, &packed)).expect("runs")
        };
        let without = run(None);
        let cache = folder.path().join("cache");
        assert_eq!(run(Some(&cache)), without);
        let Some(file) = &summary.cache_file else {
            assert!(!cache.exists());
            continue;
        };
        let file = cache.join(file);
        let written = std::fs::read(&file).expect("kept");
        assert!(written.len() > 32);
        assert_eq!(run(Some(&cache)), without);
        for damaged in [&written[..written.len() / 2], b"", &[0; 5000]] {
            std::fs::write(&file, damaged).expect("writable");
            assert_eq!(run(Some(&cache)), without);
            assert_ne!(std::fs::read(&file).expect("replaced"), damaged);
        }
        assert_eq!(std::fs::read_dir(&cache).expect("a folder").count(), 1);
    }
}
