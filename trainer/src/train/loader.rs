//! Minibatches, rendered by a thread of their own while the step before computes.

use std::{
    collections::HashSet,
    sync::mpsc::{Receiver, sync_channel},
    thread::Scope,
};

use candle_core::{Device, Tensor};
use rand::RngExt;

use crate::{
    Error, Result,
    data::{self, Dataset},
    objective::Batch,
    rng::{self, Purpose},
};

/// How many minibatches of how many images a step takes, what names the draw, and which share of it is this rank's.
#[derive(Debug, Clone, Copy)]
pub struct Draw {
    /// The run's seed.
    pub seed: u64,
    /// Minibatches a step.
    pub minibatches: usize,
    /// Images a minibatch, of all ranks together.
    pub batch_size: usize,
    /// The number of this rank.
    pub rank: usize,
    /// How many ranks share each minibatch evenly.
    pub world_size: usize,
}

impl Draw {
    /// The images of `step`, of all ranks: distinct, uniform over all that are not held out.
    ///
    /// # Errors
    /// The data set is too small for so many distinct images.
    pub fn indices(&self, dataset: &dyn Dataset, step: u64) -> Result<Vec<usize>> {
        let wanted = self.minibatches * self.batch_size;
        // Half of the data keeps the rejection below short.
        if wanted > dataset.len() / 2 {
            let most = dataset.len() / 2 / self.minibatches;
            let expected = format!("at most {most} with {} images in {}", dataset.len(), dataset.name());
            return Err(Error::setting("batch_size", self.batch_size, &expected));
        }
        let mut rng = rng::stream(self.seed, Purpose::Batch, step);
        let mut seen = HashSet::with_capacity(wanted);
        let mut indices = Vec::with_capacity(wanted);
        while indices.len() < wanted {
            let index = rng.random_range(0..dataset.len());
            if !data::is_held_out(index) && seen.insert(index) {
                indices.push(index);
            }
        }
        Ok(indices)
    }

    /// This rank's share of a minibatch.
    fn mine(&self) -> std::ops::Range<usize> {
        let share = self.batch_size / self.world_size;
        self.rank * share..(self.rank + 1) * share
    }

    fn render(&self, dataset: &dyn Dataset, step: u64) -> Result<Vec<f32>> {
        let mine = self.mine();
        let indices = self.indices(dataset, step)?;
        let indices: Vec<_> =
            indices.chunks(self.batch_size).flat_map(|minibatch| &minibatch[mine.clone()]).copied().collect();
        Ok(dataset.batch(&indices).into_iter().map(|p| f32::from(p) / 255.0).collect())
    }
}

/// The batches of a range of steps, in order.
pub struct Loader<'a> {
    dataset: &'a dyn Dataset,
    draw: Draw,
    device: Device,
    next: u64,
    pixels: Receiver<Result<Vec<f32>>>,
}

impl<'a> Loader<'a> {
    /// Starts rendering for `steps`; the thread ends with the loader.
    pub fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        dataset: &'a dyn Dataset,
        draw: Draw,
        steps: std::ops::RangeInclusive<u64>,
        device: &Device,
    ) -> Self
    where
        'a: 'scope,
    {
        let (sender, pixels) = sync_channel(2);
        let next = *steps.start();
        scope.spawn(move || {
            // A send fails when the loader is gone.
            steps.map(|step| draw.render(dataset, step)).try_for_each(|batch| sender.send(batch))
        });
        Self { dataset, draw, device: device.clone(), next, pixels }
    }

    /// The next step's images.
    ///
    /// # Errors
    /// They cannot be drawn, or the range is used up.
    pub fn next_batch(&mut self) -> Result<Batch> {
        let pixels = self.pixels.recv().map_err(|_| Error::Unsupported("no more batches were asked for".into()))??;
        let shape = self.dataset.image();
        let all = Tensor::from_vec(
            pixels,
            (self.draw.minibatches * self.draw.mine().len(), shape.height, shape.width, shape.channels),
            &self.device,
        )?;
        let images = all.chunk(self.draw.minibatches, 0)?;
        let step = self.next;
        self.next += 1;
        Ok(Batch { step, images })
    }
}
