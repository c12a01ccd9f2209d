//! DC-IGN (Kulkarni et al. 2015, "Deep Convolutional Inverse Graphics Network", arXiv 1503.03167, section 3.1 and figure 3).
//!
//! ```text
//! each factor has latents of its own; the others are for what is intrinsic to the scene
//! a minibatch varies in one factor alone, or in the intrinsic ones;  the latents meant for it are active
//! forward:   inactive latents are clamped to their mean over the minibatch, for encoder and decoder do not need them
//! backward:  the reconstruction's gradient of an inactive latent is replaced by z - mean: it shall not move with what varies
//!            here
//! ```
//!
//! The KL divergence counts for all latents: without it inactive ones drift away from the prior, to variances beyond 100.
//! The authors' released code clamps to the minibatch's first sample instead, and that gradient is zero;
//! [`Clamp`] has both.

use std::{collections::BTreeMap, ops::Range};

use candle_core::{Device, Tensor};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use super::{
    Batch, Company, Kind, Objective, Settings, Setup, Terms,
    vae::{Vae, noise},
};
use crate::{
    Error, Result,
    data::{self, Dataset},
    nn::{Adam, AdamOptions, Network},
    train::config::{count, validate_weight},
};

/// Hyper-parameters of DC-IGN; the defaults are the paper's, with the shape as what is intrinsic to a sprite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Args)]
#[serde(default)]
pub struct DcIgnOptions {
    /// dc-ign: the factors, separated by commas, that are intrinsic to what is seen; every other factor of the data has latents of its own.
    #[arg(long, default_value_t = DcIgnOptions::default().dcign_intrinsic)]
    pub dcign_intrinsic: String,
    /// dc-ign: latents of each other factor, the first in the data set's order of factors; the rest is for the intrinsic ones.
    #[arg(long, value_parser = count::<usize>, default_value_t = DcIgnOptions::default().dcign_latents_per_factor)]
    pub dcign_latents_per_factor: usize,
    /// dc-ign: minibatches in which the intrinsic factors vary, for each in which a certain other factor does.
    #[arg(long, default_value_t = DcIgnOptions::default().dcign_intrinsic_ratio)]
    pub dcign_intrinsic_ratio: f64,
    /// dc-ign: what inactive latents are clamped to.
    #[arg(long, value_enum, default_value_t = DcIgnOptions::default().dcign_clamp)]
    pub dcign_clamp: Clamp,
    /// dc-ign: what the gradient z - mean of inactive latents is scaled by (with `mean`).
    #[arg(long, default_value_t = DcIgnOptions::default().dcign_gradient_scale)]
    pub dcign_gradient_scale: f64,
}

/// What inactive latents are clamped to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Clamp {
    /// Their mean over the minibatch, as published.
    Mean,
    /// The minibatch's first sample, without gradient, as in the released code.
    First,
}

impl Default for DcIgnOptions {
    fn default() -> Self {
        Self {
            dcign_intrinsic: "shape".into(),
            dcign_latents_per_factor: 1,
            dcign_intrinsic_ratio: 10.0,
            dcign_clamp: Clamp::Mean,
            dcign_gradient_scale: 0.01,
        }
    }
}

impl Settings for DcIgnOptions {
    fn validate(&self) -> Result<()> {
        validate_weight("dcign_intrinsic_ratio", self.dcign_intrinsic_ratio)?;
        validate_weight("dcign_gradient_scale", self.dcign_gradient_scale)?;
        match self.dcign_latents_per_factor {
            0 => Err(Error::setting("dcign_latents_per_factor", 0, "1 or more")),
            _ => Ok(()),
        }
    }
}

/// Minibatches of one kind and the latents that they train.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// What varies, and how often.
    pub kind: Kind,
    /// The latents meant for it.
    pub latents: Range<usize>,
}

impl DcIgnOptions {
    /// One group for each factor that is not intrinsic, the last for those that are.
    ///
    /// # Errors
    /// The data has no labels or not the intrinsic factors, or there are not enough `latents`.
    pub fn groups(&self, dataset: &dyn Dataset, latents: usize) -> Result<Vec<Group>> {
        data::check_grid(dataset, "dc-ign")?;
        let names: Vec<_> = dataset.factors().iter().map(|factor| &*factor.name).collect();
        let place = |name: &str| {
            let expected = || format!("factors of {}, separated by commas: {}", dataset.name(), names.join(", "));
            let found = names.iter().position(|known| *known == name);
            found.ok_or_else(|| Error::setting("dcign_intrinsic", &self.dcign_intrinsic, &expected()))
        };
        let mut intrinsic =
            self.dcign_intrinsic.split(',').map(|name| place(name.trim())).collect::<Result<Vec<_>>>()?;
        intrinsic.sort_unstable();
        intrinsic.dedup();

        let others: Vec<_> = (0..names.len()).filter(|factor| !intrinsic.contains(factor)).collect();
        let each = self.dcign_latents_per_factor;
        let own = others.len().saturating_mul(each);
        if own >= latents {
            let expected = format!(
                "{} or more: {each} for each of {} factors that are not intrinsic, and 1",
                own.saturating_add(1),
                others.len()
            );
            return Err(Error::setting("latents", latents, &expected));
        }
        let group = |(i, factor): (usize, usize)| Group {
            kind: Kind { factors: vec![factor], ratio: 1.0 },
            latents: i * each..(i + 1) * each,
        };
        let mut groups: Vec<_> = others.into_iter().enumerate().map(group).collect();
        let kind = Kind { factors: intrinsic, ratio: self.dcign_intrinsic_ratio };
        groups.push(Group { kind, latents: own..latents });
        Ok(groups)
    }
}

/// DC-IGN in training.
#[derive(Debug)]
pub struct DcIgn {
    vae: Vae,
    optimizer: Adam,
    kinds: Vec<Kind>,
    /// For each kind, 1 for its active latents and 0 for the others, `(1, latents)`.
    active: Vec<Tensor>,
    clamp: Clamp,
    gradient_scale: f64,
    seed: u64,
}

impl DcIgn {
    /// Fresh networks and a fresh optimizer.
    pub fn new(setup: Setup, options: &DcIgnOptions, adam: AdamOptions) -> Result<Self> {
        let Setup { architecture, init, seed, dataset, device } = setup;
        let vae = Vae::new(architecture, init, seed, device)?;
        let groups = options.groups(dataset, architecture.latents)?;
        let active = |group: &Group| mask(&group.latents, architecture.latents, device);
        Ok(Self {
            optimizer: Adam::new("vae", vae.variables(), adam)?,
            vae,
            active: groups.iter().map(active).collect::<Result<_>>()?,
            kinds: groups.into_iter().map(|group| group.kind).collect(),
            clamp: options.dcign_clamp,
            gradient_scale: options.dcign_gradient_scale,
            seed,
        })
    }
}

fn mask(active: &Range<usize>, latents: usize, device: &Device) -> Result<Tensor> {
    let values: Vec<f32> = (0..latents).map(|latent| f32::from(u8::from(active.contains(&latent)))).collect();
    Ok(Tensor::from_vec(values, (1, latents), device)?)
}

impl Objective for DcIgn {
    fn minibatches(&self) -> usize {
        1
    }

    fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    fn step(&mut self, batch: &Batch, company: Company) -> Result<Terms> {
        let [x] = batch.images.as_slice() else {
            return Err(Error::Unsupported("DC-IGN takes one minibatch a step".into()));
        };
        let step = batch.step;
        let active = &self.active[batch.kind];
        let inactive = active.affine(-1.0, 1.0)?;

        let q = self.vae.posterior(x)?;
        let z = q.sample(&noise(self.seed, 2 * step, &q.mean, company)?)?;
        let all = company.ranks.gather(&z.detach())?;
        let center = match self.clamp {
            Clamp::Mean => all.mean_keepdim(0)?,
            Clamp::First => all.narrow(0, 0, 1)?,
        };
        let clamped = z.broadcast_mul(active)?.broadcast_add(&(&center * &inactive)?)?;
        let reconstruction = self.vae.reconstruction_loss(&clamped, x)?;
        let kl = q.kl()?;
        // Its gradient is (z - mean)·scale, in the place of the one from the reconstruction, which is 0 for what was clamped.
        let distance = z.broadcast_sub(&center)?.broadcast_mul(&inactive)?.sqr()?;
        let invariance = (distance.sum(1)?.mean(0)? * 0.5)?;
        let scale = if self.clamp == Clamp::Mean { self.gradient_scale } else { 0.0 };
        let loss = ((&reconstruction + &kl)? + (&invariance * scale)?)?;

        let terms = [("loss", &loss), ("reconstruction", &reconstruction), ("kl", &kl), ("invariance", &invariance)];
        let terms = company.read(step, &terms)?;
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
