//! Linear baselines: PCA and ICA on pixels, as in the table of the β-VAE paper (Higgins et al. 2017, table 1).
//!
//! Encoder and decoder are one matrix each, and a step fits them to its minibatch: one step of 10,000 images is all there is. Codes
//! have variance 1 over the minibatch. So that a code is a posterior as every other system's, it has the log-variances of
//! probabilistic PCA (Tipping & Bishop 1999, "Probabilistic Principal Component Analysis", section 3.2): what the components leave
//! over, σ² a pixel, is noise, which blurs the code of component i by σ²/λ_i.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use nalgebra::{DMatrix, DVector};

use super::{Batch, Company, Objective, Setup, Terms, ica, pca::Components, vae::Vae};
use crate::{
    Error, Result,
    model::{Activation, Architecture, Layer, PixelOutput},
    nn::{Network, to_channels_first},
};

/// What the components are turned to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// Nothing: principal components.
    Principal,
    /// Independent components.
    Independent,
}

/// A linear encoder and decoder.
#[derive(Debug)]
pub struct Linear {
    networks: Vae,
    rotation: Rotation,
    seed: u64,
}

impl Linear {
    /// Networks that have not been fitted.
    pub fn new(setup: Setup, rotation: Rotation) -> Result<Self> {
        let Setup { architecture, init, seed, device, .. } = setup;
        Ok(Self { networks: Vae::new(architecture, init, seed, device)?, rotation, seed })
    }

    /// Refuses networks that are not one matrix each way, ending in pixels.
    pub fn check(architecture: &Architecture) -> Result<()> {
        let linear = |layer: &Layer| matches!(layer, Layer::Linear { activation: Activation::Identity, .. });
        let Architecture { encoder, decoder, output, name, .. } = architecture;
        match (encoder.as_slice(), decoder.as_slice(), output) {
            ([Layer::Flatten, to_code], [to_image, Layer::Unflatten { .. }], PixelOutput::Linear)
                if linear(to_code) && linear(to_image) =>
            {
                Ok(())
            }
            _ => Err(Error::setting("architecture", name, "linear, the only one that PCA and ICA have")),
        }
    }

    fn set(&self, weights: &LinearMaps, device: &Device) -> Result<()> {
        let LinearMaps { encoder, encoder_bias, decoder, decoder_bias } = weights;
        let (rows, pixels) = (encoder.nrows(), encoder.ncols());
        // nalgebra's columns are contiguous: a transpose has the rows one after another.
        let matrix = |m: &DMatrix<f64>| m.transpose().iter().map(|&v| v as f32).collect::<Vec<_>>();
        let vector = |v: &DVector<f64>| v.iter().map(|&v| v as f32).collect::<Vec<_>>();
        let values = [
            Tensor::from_vec(matrix(encoder), (rows, pixels), device)?,
            Tensor::from_vec(vector(encoder_bias), rows, device)?,
            Tensor::from_vec(matrix(decoder), (pixels, rows / 2), device)?,
            Tensor::from_vec(vector(decoder_bias), pixels, device)?,
        ];
        for ((_, variable), value) in self.networks.variables().iter().zip(values) {
            variable.set(&value)?;
        }
        Ok(())
    }
}

impl Objective for Linear {
    fn minibatches(&self) -> usize {
        1
    }

    fn step(&mut self, batch: &Batch, company: Company) -> Result<Terms> {
        let [x] = batch.images.as_slice() else {
            return Err(Error::Unsupported("PCA and ICA take one minibatch a step".into()));
        };
        // Every rank fits the whole minibatch.
        let x = company.ranks.gather(x)?;
        let pixels = to_channels_first(&x)?.flatten_from(1)?;
        let latents = self.networks.decoder.layers().first().and_then(Layer::inputs).unwrap_or(0);
        let components = Components::fit(&pixels, latents, self.seed, batch.step)?;
        let (rotation, converged) = match self.rotation {
            Rotation::Principal => (DMatrix::identity(latents, latents), true),
            Rotation::Independent => ica::rotation(&components.whiten(&pixels)?, self.seed, batch.step),
        };
        self.set(&LinearMaps::new(&components, &rotation), x.device())?;

        let q = self.networks.posterior_frozen(&x)?;
        let decoded = self.networks.decoder.forward_frozen(&q.mean)?;
        let squared_error = (decoded - &x)?.sqr()?.flatten_from(1)?.sum(1)?.mean(0)?;
        let explained = Tensor::new(components.explained() as f32, x.device())?;
        let converged = Tensor::new(f32::from(u8::from(converged)), x.device())?;
        let mut terms = vec![("squared_error", squared_error), ("kl", q.kl()?), ("explained_variance", explained)];
        if self.rotation == Rotation::Independent {
            terms.push(("converged", converged));
        }
        company.read(batch.step, &terms.iter().map(|(name, term)| (*name, term)).collect::<Vec<_>>())
    }

    fn networks(&self) -> Result<(Network, Network)> {
        Ok((self.networks.encoder.clone(), self.networks.decoder.clone()))
    }

    fn state(&self) -> BTreeMap<String, Tensor> {
        self.networks.variables().into_iter().map(|(name, variable)| (name, variable.as_detached_tensor())).collect()
    }

    fn restore(&mut self, state: &BTreeMap<String, Tensor>, _: u64) -> Result<()> {
        for (name, variable) in self.networks.variables() {
            match state.get(&name) {
                Some(tensor) if tensor.shape() == variable.shape() => {
                    variable.set(&tensor.to_device(variable.device())?)?;
                }
                _ => return Err(Error::Unsupported(format!("{name}: expected shape {:?}", variable.dims()))),
            }
        }
        Ok(())
    }
}

/// The weights of both networks.
struct LinearMaps {
    /// `(2·latents, pixels)`: means, then log-variances.
    encoder: DMatrix<f64>,
    encoder_bias: DVector<f64>,
    /// `(pixels, latents)`.
    decoder: DMatrix<f64>,
    decoder_bias: DVector<f64>,
}

impl LinearMaps {
    /// z = R·Λ^-½·Vᵀ·(x - μ) and x = V·Λ^½·Rᵀ·z + μ; the noise of z_i is Σ_j R_ij²·σ²/λ_j.
    fn new(components: &Components, rotation: &DMatrix<f64>) -> Self {
        let Components { mean, directions, variances, rest, .. } = components;
        let latents = variances.len();
        let deviations = variances.map(f64::sqrt);
        let to_code = rotation * DMatrix::from_diagonal(&deviations.map(|d| 1.0 / d)) * directions.transpose();
        let decoder = directions * DMatrix::from_diagonal(&deviations) * rotation.transpose();
        let noise = rotation.map(|r| r * r) * variances.map(|variance| rest / variance);
        let code_bias = -(&to_code * mean);
        let encoder = to_code.resize_vertically(2 * latents, 0.0);
        // A posterior without any noise has no logarithm; e^-16 is the least that an int8 file can tell from others.
        let log_vars = noise.map(|noise| noise.max((-16_f64).exp()).ln());
        let encoder_bias = DVector::from_iterator(2 * latents, code_bias.iter().chain(log_vars.iter()).copied());
        Self { encoder, encoder_bias, decoder, decoder_bias: mean.clone() }
    }
}
