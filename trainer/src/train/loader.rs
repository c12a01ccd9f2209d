//! Minibatches, rendered by threads of their own while the steps before compute.

use std::{
    collections::HashSet,
    sync::mpsc::{Receiver, sync_channel},
    thread::Scope,
};

use candle_core::{Device, Tensor};
use rand::{Rng, RngExt};

use crate::{
    Error, Result,
    data::{self, Dataset},
    objective::{Batch, Kind, Objective},
    rng::{self, Purpose},
};

/// How many minibatches of how many images a step takes, what names the draw, and which share of it is this rank's.
#[derive(Debug, Clone)]
pub struct Draw {
    /// The run's seed.
    pub seed: u64,
    /// Minibatches a step.
    pub minibatches: usize,
    /// The kinds that they are of, as [`Objective::kinds`] says.
    pub kinds: Vec<Kind>,
    /// Images a minibatch, of all ranks together.
    pub batch_size: usize,
    /// The number of this rank.
    pub rank: usize,
    /// How many ranks share each minibatch evenly.
    pub world_size: usize,
}

impl Draw {
    /// What one process draws for `objective`.
    pub fn new(objective: &dyn Objective, seed: u64, batch_size: usize) -> Self {
        let (minibatches, kinds) = (objective.minibatches(), objective.kinds().to_vec());
        Self { seed, minibatches, kinds, batch_size, rank: 0, world_size: 1 }
    }

    /// The images of `step`, of all ranks, none of which is held out: distinct and uniform, or minibatches of one kind. Also the
    /// number of that kind.
    ///
    /// # Errors
    /// The data set is too small for so many distinct images.
    pub fn indices(&self, dataset: &dyn Dataset, step: u64) -> Result<(Vec<usize>, usize)> {
        let mut rng = rng::stream(self.seed, Purpose::Batch, step);
        if self.kinds.is_empty() {
            return Ok((self.uniform(dataset, &mut rng)?, 0));
        }
        let kind = Kind::draw(&self.kinds, &mut rng);
        let factors = &self.kinds[kind].factors;
        let indices = (0..self.minibatches).flat_map(|_| varying(dataset, factors, self.batch_size, &mut rng));
        Ok((indices.collect(), kind))
    }

    fn uniform(&self, dataset: &dyn Dataset, rng: &mut impl Rng) -> Result<Vec<usize>> {
        let wanted = self.minibatches * self.batch_size;
        // Half of the data keeps the rejection below short.
        if wanted > dataset.len() / 2 {
            let most = dataset.len() / 2 / self.minibatches;
            let expected = format!("at most {most} with {} images in {}", dataset.len(), dataset.name());
            return Err(Error::setting("batch_size", self.batch_size, &expected));
        }
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

    fn render(&self, dataset: &dyn Dataset, step: u64) -> Drawn {
        let mine = self.mine();
        let (indices, kind) = self.indices(dataset, step)?;
        let indices: Vec<_> =
            indices.chunks(self.batch_size).flat_map(|minibatch| &minibatch[mine.clone()]).copied().collect();
        Ok((dataset.batch(&indices)?.into_iter().map(|p| f32::from(p) / 255.0).collect(), kind))
    }
}

/// `n` images that differ in `factors` alone, uniform over their values, with repetitions.
fn varying(dataset: &dyn Dataset, factors: &[usize], n: usize, rng: &mut impl Rng) -> Vec<usize> {
    loop {
        let mut values = dataset.factor_values(rng.random_range(0..dataset.len()));
        let mut draw = || {
            for &factor in factors {
                values[factor] = rng.random_range(0..dataset.factors()[factor].size);
            }
            dataset.index_of(&values).filter(|&index| !data::is_held_out(index))
        };
        // Held-out images are drawn again; of few values all may be held out, and the rest has to be drawn again too.
        let drawn: Option<Vec<_>> = (0..n).map(|_| (0..64).find_map(|_| draw())).collect();
        if let Some(drawn) = drawn {
            return drawn;
        }
    }
}

/// The batches of a range of steps, in order.
pub struct Loader<'a> {
    dataset: &'a dyn Dataset,
    draw: Draw,
    device: Device,
    next: u64,
    /// What each thread has drawn; they take steps in turn.
    drawn: Vec<Receiver<Drawn>>,
    turn: usize,
}

/// The pixels of a step, from 0 to 1, and the number of their kind.
type Drawn = Result<(Vec<f32>, usize)>;

/// Threads that render, at most: pictures in files take longer to decode than a GPU takes to learn from them.
const THREADS: usize = 8;

impl<'a> Loader<'a> {
    /// Starts rendering for `steps`; the threads end with the loader.
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
        let next = *steps.start();
        let threads = rayon::current_num_threads().min(THREADS);
        let start = |thread| {
            // One step ready while the thread draws the next but so many.
            let (sender, drawn) = sync_channel(1);
            let (drawing, steps) = (draw.clone(), steps.clone().skip(thread).step_by(threads));
            scope.spawn(move || {
                // A send fails when the loader is gone.
                steps.map(|step| drawing.render(dataset, step)).try_for_each(|batch| sender.send(batch))
            });
            drawn
        };
        let drawn = (0..threads).map(start).collect();
        Self { dataset, draw, device: device.clone(), next, drawn, turn: 0 }
    }

    /// The next step's images.
    ///
    /// # Errors
    /// They cannot be drawn, or the range is used up.
    pub fn next_batch(&mut self) -> Result<Batch> {
        let drawn = self.drawn[self.turn].recv();
        let (pixels, kind) = drawn.map_err(|_| Error::Unsupported("no more batches were asked for".into()))??;
        self.turn = (self.turn + 1) % self.drawn.len();
        let shape = self.dataset.image();
        let all = Tensor::from_vec(
            pixels,
            (self.draw.minibatches * self.draw.mine().len(), shape.height, shape.width, shape.channels),
            &self.device,
        )?;
        let images = all.chunk(self.draw.minibatches, 0)?;
        let step = self.next;
        self.next += 1;
        Ok(Batch { step, images, kind })
    }
}
