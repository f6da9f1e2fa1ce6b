//! The memory that is announced for generating is the memory that is taken, and what does not fit is refused before
//! anything is.

use fairy2i_gpu::backend::{Backend, Cpu, DeviceFacts, block_on};
use fairy2i_gpu::files::{self, ModelFolder};
use fairy2i_gpu::model::{Granularity, LoadOptions, Memory, Method, Model, Recipe};
use fairy2i_gpu::ops::quantize::Activations;
use fairy2i_gpu::ops::{Kv, Op};
use fairy2i_gpu::train::step::{Memory as TrainMemory, TrainOptions, Trainer};
use fairy2i_gpu::{Error, Result};
use std::cell::Cell;
use std::ops::Range;
use std::rc::Rc;

/// A CPU that counts the words of the buffers that there are, and has room for so many bytes.
struct Counting {
    cpu: Cpu,
    facts: DeviceFacts,
    words: Rc<Cell<usize>>,
    allocations: Cell<usize>,
    room: Cell<u64>,
}

impl Counting {
    fn new(room: u64) -> Self {
        Self {
            cpu: Cpu::new(),
            facts: DeviceFacts {
                max_words: 1 << 20,
                ..DeviceFacts::host("counting".to_owned())
            },
            words: Rc::default(),
            allocations: Cell::new(0),
            room: Cell::new(room),
        }
    }
}

/// A buffer that is no longer counted when it is dropped.
struct Counted {
    buffer: <Cpu as Backend>::Buffer,
    words: usize,
    count: Rc<Cell<usize>>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.count.set(self.count.get() - self.words);
    }
}

impl Backend for Counting {
    type Buffer = Counted;
    type Asked = <Cpu as Backend>::Asked;

    fn facts(&self) -> &DeviceFacts {
        &self.facts
    }

    fn available(&self) -> Option<u64> {
        Some(self.room.get())
    }

    fn alloc(&self, label: &str, words: usize) -> Result<Counted> {
        self.words.set(self.words.get() + words);
        self.allocations.set(self.allocations.get() + 1);
        Ok(Counted {
            buffer: self.cpu.alloc(label, words)?,
            words,
            count: self.words.clone(),
        })
    }

    fn upload(&self, buffer: &Counted, offset: usize, words: &[u32]) -> Result<()> {
        self.cpu.upload(&buffer.buffer, offset, words)
    }

    fn ask(&self, runs: &[(&Counted, Range<usize>)]) -> Result<<Cpu as Backend>::Asked> {
        let runs: Vec<_> = runs
            .iter()
            .map(|(b, run)| (&b.buffer, run.clone()))
            .collect();
        self.cpu.ask(&runs)
    }

    async fn answer<T>(
        &self,
        asked: <Cpu as Backend>::Asked,
        read: impl FnOnce(&[u32]) -> T,
    ) -> Result<T> {
        self.cpu.answer(asked, read).await
    }

    async fn run<O: Op>(&self, op: &O, buffers: &[&Counted]) -> Result<()> {
        let buffers: Vec<_> = buffers.iter().map(|b| &b.buffer).collect();
        self.cpu.run(op, &buffers).await
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}

fn stories() -> ModelFolder {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/models/stories260k");
    files::open(path).expect("the test model opens")
}

fn options(method: Method, granularity: Granularity) -> LoadOptions {
    LoadOptions {
        recipe: Recipe {
            method,
            granularity,
            skip_head: false,
            rotated: false,
        },
        activations: Activations::Int16,
        context: 70,
        batch: 9,
        kv: None,
        swa_full: false,
        exact: false,
    }
}

const W2: Method = Method::Phase { stages: 2 };

#[test]
fn announced_memory_is_what_generating_takes() -> Result<()> {
    let builtin =
        || files::open_source(fairy2i_gpu::builtin::source()).expect("the built-in model");
    let of_row = options(W2, Granularity::Row);
    let in_groups = options(W2, Granularity::Group(16));
    let in_floats = LoadOptions {
        activations: Activations::Float,
        kv: Some(Kv::F16),
        swa_full: false,
        ..options(Method::Phase { stages: 3 }, Granularity::Tensor)
    };
    for (opened, options, texts) in [
        (builtin(), options(W2, Granularity::Tensor), 1),
        (stories(), options(Method::Full, Granularity::Tensor), 1),
        (stories(), options(Method::Binary, Granularity::Tensor), 1),
        (stories(), of_row, 1),
        (stories(), in_groups, 1),
        (stories(), in_floats, 1),
        (stories(), of_row, 3),
    ] {
        let counting = Counting::new(u64::MAX);
        let (config, weights) = (&opened.config, &*opened.weights);
        let memory = Memory::of(&counting, config, Some(weights), &options, texts)?;
        let mut quiet = |_: &str| {};
        let model = Model::load(&counting, config, weights, options, &mut quiet);
        let model = block_on(&counting, model)?;
        let session = model.sessions(texts)?;
        assert_eq!(memory.total(), 4 * counting.words.get(), "{options:?}");
        drop(session);
        assert!(memory.total() > 4 * counting.words.get());
    }
    for method in [W2, Method::Full] {
        let counting = Counting::new(u64::MAX);
        let (config, options) = (stories().config, options(method, Granularity::Tensor));
        let memory = Memory::of(&counting, &config, None, &options, 1)?;
        let model = block_on(&counting, Model::synthetic(&counting, &config, options))?;
        let _session = model.session()?;
        assert_eq!(memory.total(), 4 * counting.words.get(), "synthetic");
    }
    Ok(())
}

/// Refused with the bytes needed and left, without a single allocation.
#[track_caller]
fn refused<T>(counting: &Counting, result: Result<T>, names: &[&str]) {
    let Err(error) = result else {
        panic!("was not refused");
    };
    assert!(matches!(error, Error::Device { .. }), "{error}");
    let text = error.to_string();
    for name in names {
        assert!(text.contains(name), "{name:?} is not in: {text}");
    }
    assert_eq!(counting.allocations.get(), 0, "{text}");
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_allocated() -> Result<()> {
    let opened = stories();
    let (config, weights) = (&opened.config, &*opened.weights);
    let plain = options(W2, Granularity::Tensor);
    let needed = Memory::of(&Counting::new(0), config, Some(weights), &plain, 1)?.total();
    let load = |counting: &Counting, options| {
        let mut quiet = |_: &str| {};
        let model = Model::load(counting, config, weights, options, &mut quiet);
        block_on(counting, model).map(|_| ())
    };
    load(&Counting::new(needed as u64), plain)?;
    let tight = Counting::new(needed as u64 - 1);
    let bytes = [format!("{needed} bytes"), format!("{} bytes", needed - 1)];
    refused(
        &tight,
        load(&tight, plain),
        &[&bytes[0], &bytes[1], "KV cache"],
    );
    // sizes at which products of them no longer fit any integer
    for huge in [1 << 30, 1 << 45, usize::MAX / 2, usize::MAX] {
        for (context, batch) in [(huge, 1), (70, huge), (huge, huge)] {
            let options = LoadOptions {
                context,
                batch,
                ..plain
            };
            let counting = Counting::new(1 << 34);
            refused(&counting, load(&counting, options), &["bytes", "left"]);
            let synthetic = Model::synthetic(&counting, config, options);
            let synthetic = block_on(&counting, synthetic).map(|_| ());
            refused(&counting, synthetic, &["bytes", "left"]);
        }
        let options = TrainOptions::new(plain.recipe, huge, 64);
        let counting = Counting::new(1 << 34);
        let memory = TrainMemory::of(
            config,
            &options,
            counting.facts.features,
            counting.facts.max_words,
        );
        assert!(memory.total() > 1 << 34);
        let trainer = Trainer::from_scratch(&counting, config, options, 0);
        refused(&counting, trainer.map(|_| ()), &["bytes", "activations"]);
    }
    Ok(())
}

#[test]
fn texts_that_do_not_fit_beside_the_model_are_refused() -> Result<()> {
    let opened = stories();
    let (config, weights) = (&opened.config, &*opened.weights);
    let plain = options(W2, Granularity::Tensor);
    let counting = Counting::new(u64::MAX);
    let mut quiet = |_: &str| {};
    let load = Model::load(&counting, config, weights, plain, &mut quiet);
    let model = block_on(&counting, load)?;
    let cache = Memory::of(&counting, config, Some(weights), &plain, 1)?.cache;
    counting.room.set(cache as u64);
    let before = counting.words.get();
    let error = model.session().map(|_| ()).expect_err("refused");
    assert_eq!(error.exit_code(), 3);
    assert!(
        error.to_string().contains(&format!("{cache} bytes")),
        "{error}"
    );
    assert_eq!(counting.words.get(), before);
    counting.room.set(2 * cache as u64 + (1 << 20));
    model.session().map(|_| ())
}

/// The CPU backend answers what no system gives with an error.
#[test]
fn the_cpu_backend_refuses_what_the_system_does_not_give() {
    for words in [usize::MAX / 8, usize::MAX / 4, usize::MAX] {
        let error = Cpu::new().alloc("cache", words).expect_err("refused");
        assert_eq!(error.exit_code(), 3);
        assert!(error.to_string().contains("`cache`"), "{error}");
    }
}
