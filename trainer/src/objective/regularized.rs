//! Variational autoencoders that differ in one term: reconstruction plus a regularizer of the posterior.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::{
    Batch, Company, Objective, Setup, Terms,
    vae::{Gaussian, Vae, noise},
};
use crate::{
    Error, Result,
    nn::{Adam, AdamOptions, Network},
};

/// What a system adds to the reconstruction loss.
pub trait Regularizer {
    /// The regularizer for the posterior `q` of a minibatch, a scalar in nats, and the terms to show beside it.
    fn regularize(&self, q: &Posterior) -> Result<Regularization>;
}

/// The posterior of a minibatch and a sample of it.
#[derive(Debug)]
pub struct Posterior<'a> {
    /// q(z|x) of this rank's images.
    pub q: Gaussian,
    /// One sample of q(z|x) for each image, `(N, latents)`.
    pub z: Tensor,
    /// The step, from 1.
    pub step: u64,
    /// Who else has a share of the minibatch.
    pub company: Company<'a>,
}

/// A regularizer's value.
#[derive(Debug)]
pub struct Regularization {
    /// What is added to the loss.
    pub loss: Tensor,
    /// Named parts of it, scalars.
    pub terms: Vec<(&'static str, Tensor)>,
}

/// A VAE with a regularizer, in training.
pub struct RegularizedVae {
    vae: Vae,
    optimizer: Adam,
    regularizer: Box<dyn Regularizer>,
    seed: u64,
}

impl RegularizedVae {
    /// Fresh networks and a fresh optimizer.
    pub fn new(setup: Setup, adam: AdamOptions, regularizer: Box<dyn Regularizer>) -> Result<Self> {
        let vae = Vae::new(setup.architecture, setup.init, setup.seed, setup.device)?;
        Ok(Self { optimizer: Adam::new("vae", vae.variables(), adam)?, vae, regularizer, seed: setup.seed })
    }
}

impl Objective for RegularizedVae {
    fn minibatches(&self) -> usize {
        1
    }

    fn step(&mut self, batch: &Batch, company: Company) -> Result<Terms> {
        let [x] = batch.images.as_slice() else {
            return Err(Error::Unsupported("this system takes one minibatch a step".into()));
        };
        let step = batch.step;
        let q = self.vae.posterior(x)?;
        let z = q.sample(&noise(self.seed, 2 * step, &q.mean, company)?)?;
        let reconstruction = self.vae.reconstruction_loss(&z, x)?;
        let kl = q.kl()?;
        let Regularization { loss, terms } = self.regularizer.regularize(&Posterior { q, z, step, company })?;
        let loss = (&reconstruction + loss)?;
        let own = [("loss", &loss), ("reconstruction", &reconstruction), ("kl", &kl)];
        let all: Vec<_> = own.into_iter().chain(terms.iter().map(|(name, term)| (*name, term))).collect();
        let terms = company.read(step, &all)?;
        self.optimizer.step(&self.vae.take_gradients(&loss.backward()?)?, company.ranks)?;
        Ok(terms)
    }

    fn networks(&self) -> Result<(Network, Network)> {
        Ok((self.vae.encoder.clone(), self.vae.decoder.clone()))
    }

    fn state(&self) -> BTreeMap<String, Tensor> {
        self.optimizer.state()
    }

    fn restore(&mut self, state: &BTreeMap<String, Tensor>, steps: u64) -> Result<()> {
        self.optimizer.restore(state, steps)
    }
}
