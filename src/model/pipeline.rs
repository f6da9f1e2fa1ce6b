//! A model whose layers are dealt to ranks, each with a device of its own: what one device cannot hold.
//!
//! All ranks make the same calls. Each runs its layers on the residual stream that the rank before it sends; the last one
//! tells all others what it has become, so that every rank computes the same logits from its own head, and goes on with the
//! same tokens. Ids and bits are those of one device of the same kind.

use super::{Config, Model};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::ranks::{Ranks, share};
use std::ops::Range;
use std::rc::Rc;

/// Which layers of a model are on this rank, and who has the others.
#[derive(Clone)]
pub struct Pipeline {
    ranks: Rc<dyn Ranks>,
    layers: Range<usize>,
}

impl Pipeline {
    /// Deals the layers of a model to `ranks`, in their order and as evenly as possible; none where there is one rank.
    ///
    /// # Errors
    /// [`Error::Usage`] for fewer layers than ranks.
    pub fn new(ranks: &Rc<dyn Ranks>, config: &Config) -> Result<Option<Self>> {
        let size = ranks.size();
        if size > config.layers {
            return Err(Error::usage(
                format!("{size} ranks for a model of {} layers", config.layers),
                "start at most as many ranks as the model has layers",
            ));
        }
        Ok((size > 1).then(|| Self {
            ranks: ranks.clone(),
            layers: share(config.layers, size, ranks.rank()),
        }))
    }

    /// The layers of this rank.
    pub(crate) fn layers(&self) -> Range<usize> {
        self.layers.clone()
    }

    /// A model as large as what a rank holds: with its number of layers, the embedding and the head.
    pub(crate) fn part(&self, config: &Config) -> Config {
        Config {
            layers: self.layers.len(),
            ..config.clone()
        }
    }
}

/// The layers of a model that a rank has.
pub(crate) fn layers(pipeline: Option<&Pipeline>, config: &Config) -> Range<usize> {
    pipeline.map_or(0..config.layers, Pipeline::layers)
}

impl<B: Backend> Model<B> {
    /// The layers that are on this device.
    pub(crate) fn layers(&self) -> Range<usize> {
        layers(self.pipeline.as_ref(), &self.config)
    }

    /// The residual stream of `rows` tokens as the layers of this rank find it: unless they are the first ones, the rank before
    /// sends it.
    pub(crate) fn receive_stream(&self, rows: usize) -> Result<()> {
        match &self.pipeline {
            Some(pipeline) if pipeline.ranks.rank() > 0 => {
                let mut words = vec![0; rows * self.config.hidden];
                let before = pipeline.ranks.rank() - 1;
                pipeline.ranks.receive(before, &mut words)?;
                self.backend.upload(&self.scratch.x, 0, &words)
            }
            _ => Ok(()),
        }
    }

    /// Hands on the residual stream of `rows` tokens as the layers of this rank leave it. Behind the last layer all ranks get
    /// it, where somebody reads it there.
    pub(crate) async fn pass_stream(&self, rows: usize, read: bool) -> Result<()> {
        let Some(Pipeline { ranks, .. }) = &self.pipeline else {
            return Ok(());
        };
        let (rank, last, n) = (ranks.rank(), ranks.size() - 1, rows * self.config.hidden);
        let (backend, x) = (&self.backend, &self.scratch.x);
        let mut words = match rank < last || read {
            true => backend.download(x, 0, n).await?,
            false => Vec::new(),
        };
        if rank < last {
            ranks.send(rank + 1, &words)?;
        }
        if !read {
            return Ok(());
        }
        ranks.broadcast(last, &mut words)?;
        match rank < last {
            true => backend.upload(x, 0, &words),
            false => Ok(()),
        }
    }
}
