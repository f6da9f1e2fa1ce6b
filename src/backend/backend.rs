//! The interface of a device, and what its callers need around it.

use super::autotune::Tunable;
use super::facts::DeviceFacts;
use super::fill::Fill;
use super::tuning::Tuning;
use crate::error::{Error, Result};
use crate::ops::{Cost, Features, Op, Shader};
use std::ops::Range;

/// How long one run of an op took.
#[derive(Debug, Clone)]
pub struct Timing {
    /// [`Op::NAME`].
    pub op: &'static str,
    /// The name that [`Backend::scope`] gave last before it.
    pub scope: String,
    /// The bytes it had to move, and the operations it had to compute.
    pub cost: Cost,
    /// From its beginning to its end on the device.
    pub nanoseconds: f64,
}

/// A device that holds buffers of 32-bit words and runs ops on them, in the order they were asked for.
#[allow(async_fn_in_trait)] // callers are generic; nothing here needs Send futures
pub trait Backend {
    /// A buffer on the device; dropping it frees it.
    type Buffer;

    /// Words on their way to the host.
    type Asked;

    /// What this device is and can do.
    fn facts(&self) -> &DeviceFacts;

    /// Name of the device, for people.
    fn name(&self) -> String {
        self.facts().name.clone()
    }

    /// Bytes that new buffers can still take, where that is known: a GPU's memory less the buffers of this process, and
    /// on the host the memory that the system has left.
    fn available(&self) -> Option<u64> {
        None
    }

    /// Whether it can run `O`: hosts run every op, GPUs those that they have a kernel for.
    fn runs<O: Op>(&self) -> bool {
        true
    }

    /// A buffer of `words` zeros.
    fn alloc(&self, label: &str, words: usize) -> Result<Self::Buffer>;

    /// Overwrites words from `offset` on.
    fn upload(&self, buffer: &Self::Buffer, offset: usize, words: &[u32]) -> Result<()>;

    /// Overwrites words from `offset` on with the words that `fill` writes, without ever holding all of them on the host:
    /// weights go from a mapped file through a bounded staging memory to the device.
    fn upload_with(&self, buffer: &Self::Buffer, offset: usize, fill: &Fill<'_>) -> Result<()> {
        fill.pieces(|first, words| self.upload(buffer, offset + first, words))
    }

    /// Waits until the host holds nothing more of what was uploaded, where the backend cannot wait in the upload itself: called
    /// now and then, it bounds the memory that loading a model takes.
    async fn uploaded(&self) -> Result<()> {
        Ok(())
    }

    /// Asks for runs of words, as everything asked for until this call leaves them; [`Backend::answer`] waits for them. More may
    /// be asked for before that, more words too.
    fn ask(&self, runs: &[(&Self::Buffer, Range<usize>)]) -> Result<Self::Asked>;

    /// Waits for words that were asked for, and gives them to `read` where they lie, one run behind the other.
    async fn answer<T>(&self, asked: Self::Asked, read: impl FnOnce(&[u32]) -> T) -> Result<T>;

    /// Reads `len` words from `offset` on, as everything asked for until this call leaves them: the future only waits, and
    /// more may be asked for before it is awaited.
    fn download<'a>(
        &'a self,
        buffer: &Self::Buffer,
        offset: usize,
        len: usize,
    ) -> impl Future<Output = Result<Vec<u32>>> + use<'a, Self> {
        let asked = self.ask(&[(buffer, offset..offset + len)]);
        async move { self.answer(asked?, <[u32]>::to_vec).await }
    }

    /// Runs `op`; `buffers` in the order of [`Op::BINDINGS`]. No buffer may appear twice if it is written.
    async fn run<O: Op>(&self, op: &O, buffers: &[&Self::Buffer]) -> Result<()>;

    /// Hands everything asked for so far to the device.
    fn flush(&self) -> Result<()>;

    /// From here to [`Backend::compile_pipelines`] nothing is run: [`Backend::run`] only notes the pipeline that it would
    /// need, and words that are downloaded mean nothing. `false` where there are no pipelines, and then ops are run as
    /// ever.
    fn collect_pipelines(&self) -> Result<bool> {
        Ok(false)
    }

    /// Compiles all pipelines that were noted since [`Backend::collect_pipelines`], on all threads, in browsers without making
    /// the page wait; from here on ops are run again.
    async fn compile_pipelines(&self) -> Result<()> {
        Ok(())
    }

    /// Begins to keep the device's time of every op, or stops. `false` where the device has no clock for that.
    fn profile(&self, _on: bool) -> Result<bool> {
        Ok(false)
    }

    /// The times of all ops since profiling began or since the last call, in their order.
    async fn profiled(&self) -> Result<Vec<Timing>> {
        Ok(Vec::new())
    }

    /// How it wants to be tuned, if it does and was not yet.
    fn tunable(&self) -> Option<&Tunable> {
        None
    }

    /// Takes other numbers than those of its class from now on. Only who has loaded nothing yet may ask for that, since models
    /// have buffers of sizes that depend on them. `false` where it keeps what it has: hosts, and devices that were given some.
    fn tune(&self, _tuning: Tuning) -> bool {
        false
    }

    /// Names the part of the model that the next ops belong to, for messages of the lockstep check and for profiles.
    fn scope(&self, _name: &dyn Fn() -> String) {}

    /// Blocks until results that [`Backend::download`] waits for may be there. Only programs call this.
    fn wait(&self) -> Result<()> {
        Ok(())
    }
}

/// A new buffer holding `words`.
pub fn upload_new<B: Backend>(backend: &B, label: &str, words: &[u32]) -> Result<B::Buffer> {
    let buffer = backend.alloc(label, words.len())?;
    backend.upload(&buffer, 0, words)?;
    Ok(buffer)
}

/// Drives `future` to its end on this thread, waiting for `backend` whenever it has nothing to do.
#[cfg(feature = "blocking")]
pub fn block_on<B: Backend, T>(backend: &B, future: impl Future<Output = Result<T>>) -> Result<T> {
    use std::task::Poll;
    let mut future = std::pin::pin!(future);
    pollster::block_on(std::future::poll_fn(|context| {
        loop {
            if let Poll::Ready(result) = future.as_mut().poll(context) {
                return Poll::Ready(result);
            }
            if let Err(error) = backend.wait() {
                return Poll::Ready(Err(error));
            }
        }
    }))
}

/// Checks the lengths of a run's buffers against those that the op needs.
pub(super) fn check_lengths<O: Op>(
    op: &O,
    lengths: impl ExactSizeIterator<Item = usize>,
) -> Result<()> {
    let needed = op.lengths();
    if needed.len() != O::BINDINGS.len() || lengths.len() != needed.len() {
        let what = format!(
            "{} buffers given, {} needed",
            lengths.len(),
            O::BINDINGS.len()
        );
        return Err(Error::Shape { op: O::NAME, what });
    }
    for ((have, need), binding) in lengths.zip(needed).zip(O::BINDINGS) {
        if have < need {
            let what = format!("`{}` has {have} words, {need} needed", binding.name);
            return Err(Error::Shape { op: O::NAME, what });
        }
    }
    Ok(())
}

/// The first kernel of `O` that a device with `features` can run: what a GPU takes.
pub fn kernel_for<O: Op>(features: Features) -> Option<&'static Shader> {
    O::SHADERS.iter().find(|s| features.covers(s.features))
}
