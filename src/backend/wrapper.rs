//! A backend that does most of its work by asking another one.

use super::autotune::Tunable;
use super::backend::{Backend, Timing};
use super::facts::DeviceFacts;
use super::fill::Fill;
use super::tuning::Tuning;
use crate::error::Result;
use crate::ops::Op;
use std::ops::Range;

/// A backend around another one, whose buffers it uses. Everything that an implementation does not override is forwarded:
/// who wants to change one thing about a backend implements this instead of [`Backend`].
#[allow(async_fn_in_trait)] // as `Backend`
pub trait Wrapper {
    /// The backend inside.
    type Inner: Backend;

    /// The backend inside.
    fn inner(&self) -> &Self::Inner;

    /// [`Backend::facts`].
    fn facts(&self) -> &DeviceFacts {
        self.inner().facts()
    }

    /// [`Backend::alloc`].
    fn alloc(&self, label: &str, words: usize) -> Result<<Self::Inner as Backend>::Buffer> {
        self.inner().alloc(label, words)
    }

    /// [`Backend::upload_with`].
    fn upload_with(
        &self,
        buffer: &<Self::Inner as Backend>::Buffer,
        offset: usize,
        fill: &Fill<'_>,
    ) -> Result<()> {
        self.inner().upload_with(buffer, offset, fill)
    }

    /// [`Backend::run`].
    async fn run<O: Op>(
        &self,
        op: &O,
        buffers: &[&<Self::Inner as Backend>::Buffer],
    ) -> Result<()> {
        self.inner().run(op, buffers).await
    }

    /// [`Backend::profile`].
    fn profile(&self, on: bool) -> Result<bool> {
        self.inner().profile(on)
    }

    /// [`Backend::profiled`].
    async fn profiled(&self) -> Result<Vec<Timing>> {
        self.inner().profiled().await
    }

    /// [`Backend::scope`].
    fn scope(&self, name: &dyn Fn() -> String) {
        self.inner().scope(name);
    }
}

/// A borrowed backend is one too, so that a program keeps its device while a model lives on it.
impl<B: Backend> Wrapper for &B {
    type Inner = B;

    fn inner(&self) -> &B {
        self
    }
}

impl<W: Wrapper> Backend for W {
    type Buffer = <W::Inner as Backend>::Buffer;
    type Asked = <W::Inner as Backend>::Asked;

    fn facts(&self) -> &DeviceFacts {
        Wrapper::facts(self)
    }

    fn available(&self) -> Option<u64> {
        self.inner().available()
    }

    fn runs<O: Op>(&self) -> bool {
        self.inner().runs::<O>()
    }

    fn alloc(&self, label: &str, words: usize) -> Result<Self::Buffer> {
        Wrapper::alloc(self, label, words)
    }

    fn upload(&self, buffer: &Self::Buffer, offset: usize, words: &[u32]) -> Result<()> {
        self.inner().upload(buffer, offset, words)
    }

    fn upload_with(&self, buffer: &Self::Buffer, offset: usize, fill: &Fill<'_>) -> Result<()> {
        Wrapper::upload_with(self, buffer, offset, fill)
    }

    fn ask(&self, runs: &[(&Self::Buffer, Range<usize>)]) -> Result<Self::Asked> {
        self.inner().ask(runs)
    }

    async fn answer<T>(&self, asked: Self::Asked, read: impl FnOnce(&[u32]) -> T) -> Result<T> {
        self.inner().answer(asked, read).await
    }

    async fn run<O: Op>(&self, op: &O, buffers: &[&Self::Buffer]) -> Result<()> {
        Wrapper::run(self, op, buffers).await
    }

    fn flush(&self) -> Result<()> {
        self.inner().flush()
    }

    fn collect_pipelines(&self) -> Result<bool> {
        self.inner().collect_pipelines()
    }

    async fn uploaded(&self) -> Result<()> {
        self.inner().uploaded().await
    }

    async fn compile_pipelines(&self) -> Result<()> {
        self.inner().compile_pipelines().await
    }

    fn profile(&self, on: bool) -> Result<bool> {
        Wrapper::profile(self, on)
    }

    async fn profiled(&self) -> Result<Vec<Timing>> {
        Wrapper::profiled(self).await
    }

    fn tunable(&self) -> Option<&Tunable> {
        self.inner().tunable()
    }

    fn tune(&self, tuning: Tuning) -> bool {
        self.inner().tune(tuning)
    }

    fn scope(&self, name: &dyn Fn() -> String) {
        Wrapper::scope(self, name);
    }

    fn wait(&self) -> Result<()> {
        self.inner().wait()
    }
}
