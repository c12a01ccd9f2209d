//! The pictures of a run: what the networks make of the same few held-out images as training goes on.

use std::path::{Path, PathBuf};

use candle_core::Device;

use super::{files::write_atomic, tensorboard::EventWriter};
use crate::{
    Result,
    data::Dataset,
    model::{Architecture, Autoencoder, F32Model, Factor},
    objective::Objective,
    viz::{self, Traversal, samples},
};

/// Columns of the reconstruction sheet; it has two pairs of rows.
const COLUMNS: usize = 8;
/// Values of each latent in a traversal.
const STEPS: usize = 11;

/// Draws the sample sheets of a run.
pub struct Samples {
    folder: PathBuf,
    architecture: Architecture,
    device: Device,
    images: Vec<u8>,
}

impl Samples {
    /// Chooses the images.
    pub fn new(
        run: &Path,
        dataset: &dyn Dataset,
        architecture: &Architecture,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        let chosen = samples::choose(dataset, 2 * COLUMNS, seed);
        Ok(Self {
            folder: run.join("samples"),
            architecture: architecture.clone(),
            device: device.clone(),
            images: dataset.batch(&chosen)?,
        })
    }

    /// Writes `step-N-reconstructions.png` and `step-N-traversal.png`, the latter with a row for every latent from -2 to 2
    /// around the code of the first image, and shows both to TensorBoard.
    pub fn write(&self, step: u64, objective: &dyn Objective, events: &mut EventWriter) -> Result<()> {
        let (encoder, decoder) = objective.networks()?;
        let model = F32Model::of_networks(self.architecture.clone(), (&encoder, &decoder), &self.device);
        let reconstructions = samples::reconstructions(&model, &self.images, COLUMNS, 1)?;
        let first = model.encode(&self.images[..self.architecture.image.size()])?.mean;
        let latents: Vec<Factor> = (0..self.architecture.latents).map(Factor::unnamed).collect();
        let traversal = Traversal::decode(&model, &latents, &first, STEPS)?.sheet(1)?;
        for (name, picture) in [("reconstructions", reconstructions), ("traversal", traversal)] {
            let png = viz::png(&picture)?;
            write_atomic(&self.folder.join(format!("step-{step:08}-{name}.png")), &png)?;
            events.image(step, name, picture.width(), picture.height(), 3, &png)?;
        }
        Ok(())
    }
}
