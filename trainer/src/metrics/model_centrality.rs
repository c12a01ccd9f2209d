//! ModelCentrality: the model that the others agree with most (Lin et al. 2020, "InfoGAN-CR and ModelCentrality",
//! arXiv 1906.06034, section 4).
//!
//! ```text
//! A_ij = FactorVAE score of model j's encoder on images of model i's decoder, i's latents as the factors
//! B    = (A + Aᵀ) / 2
//! s_i  = mean of B_ij over the other models j
//! ```
//!
//! For A, as in the authors' code: M = 1,000 votes in turn for each latent of i; for one vote the L = 100 latent vectors are
//! drawn from N(0, I), all with the same value of that latent, decoded by i and encoded by j; nothing is pruned but latents
//! of variance 0, and the classifier is scored on the votes that trained it. The authors take j's scale from 73,728 images,
//! here from 10,000.

use rayon::prelude::*;

use super::{
    codes::{BATCH, Progress, position},
    factor_vae::training_accuracy,
};
use crate::{
    Error, Result,
    model::Autoencoder,
    rng::{Purpose, normals, stream},
};

/// The numbers that turn the algorithm into a score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protocol {
    /// L: images behind a vote, at least 2.
    pub images_per_vote: usize,
    /// M: votes of each pair of models.
    pub votes: usize,
    /// Images from which each encoder's scale is estimated.
    pub scale_samples: usize,
}

impl Protocol {
    /// The paper's.
    pub const PAPER: Self = Self { images_per_vote: 100, votes: 1_000, scale_samples: 10_000 };

    /// Images that are decoded for one model: the whole work is this times the number of models.
    fn images(&self) -> usize {
        self.scale_samples + self.votes * self.images_per_vote
    }
}

/// A of all models, `(models, models)`; 0 on the diagonal. `progress` hears the images decoded.
///
/// # Errors
/// The models have other images than the first, a number of the protocol is too small, or a model failed.
pub fn agreements(
    models: &[&dyn Autoencoder],
    protocol: &Protocol,
    seed: u64,
    progress: Progress,
) -> Result<Vec<Vec<f64>>> {
    let Protocol { images_per_vote, votes, scale_samples } = *protocol;
    for (name, found, least) in
        [("images_per_vote", images_per_vote, 2), ("votes", votes, 1), ("scale_samples", scale_samples, 2)]
    {
        if found < least {
            return Err(Error::setting(name, found, &format!("at least {least}")));
        }
    }
    let shapes: Vec<_> = models.iter().map(|model| model.image()).collect();
    if let Some(other) = shapes.iter().find(|&shape| shape != &shapes[0]) {
        return Err(Error::Unsupported(format!("the models take images of {} and of {other}", shapes[0])));
    }
    let (each, all) = (protocol.images() as u64, (models.len() * protocol.images()) as u64);
    let row = |i: usize| row(models, i, protocol, seed, &|done| progress(i as u64 * each + done, all));
    (0..models.len()).map(row).collect()
}

/// s of model `model` from [`agreements`] with the models `others`.
pub fn centrality(agreements: &[Vec<f64>], model: usize, others: &[usize]) -> f64 {
    let both = |&other: &usize| (agreements[model][other] + agreements[other][model]) / 2.0;
    others.iter().map(both).sum::<f64>() / others.len().max(1) as f64
}

/// A_ij of decoder `i` with all encoders.
fn row(
    models: &[&dyn Autoencoder],
    i: usize,
    protocol: &Protocol,
    seed: u64,
    progress: &dyn Fn(u64),
) -> Result<Vec<f64>> {
    let decoder = models[i];
    let factors = decoder.latents();
    let start = position::CENTRALITY + ((i as u64) << 32);
    let scale_latents = normals(&mut stream(seed, Purpose::Metric, start), protocol.scale_samples * factors);
    let mut means = vec![Vec::new(); models.len()];
    for latents in scale_latents.chunks(BATCH * factors) {
        encode_with_others(models, i, latents, &mut means)?;
        progress((means.iter().map(Vec::len).max().unwrap_or(0) / factors.max(1)) as u64);
    }
    let scales: Vec<Vec<f64>> =
        means.iter().zip(models).map(|(means, model)| variances(means, model.latents())).collect();

    let mut tables: Vec<Vec<Vec<u64>>> = models.iter().map(|model| vec![vec![0; factors]; model.latents()]).collect();
    let votes_per_batch = (BATCH / protocol.images_per_vote).max(1);
    let votes: Vec<usize> = (0..protocol.votes).collect();
    for votes in votes.chunks(votes_per_batch) {
        let latents: Vec<f32> = votes.iter().flat_map(|&vote| fixed(vote, factors, protocol, seed, start)).collect();
        let mut means = vec![Vec::new(); models.len()];
        encode_with_others(models, i, &latents, &mut means)?;
        for (j, means) in means.iter().enumerate().filter(|&(j, _)| j != i) {
            let width = models[j].latents();
            for (&vote, means) in votes.iter().zip(means.chunks_exact(protocol.images_per_vote * width)) {
                if let Some(latent) = stillest(&variances(means, width), &scales[j]) {
                    tables[j][latent][vote % factors] += 1;
                }
            }
        }
        let done = votes.last().map_or(0, |vote| vote + 1) * protocol.images_per_vote;
        progress((protocol.scale_samples + done) as u64);
    }
    Ok(tables.iter().map(|table| training_accuracy(table)).collect())
}

/// The latent vectors of a vote, `(images_per_vote, factors)`: the same value of factor `vote % factors` in all.
fn fixed(vote: usize, factors: usize, protocol: &Protocol, seed: u64, start: u64) -> Vec<f32> {
    let mut rng = stream(seed, Purpose::Metric, start + 1 + vote as u64);
    let mut latents = normals(&mut rng, protocol.images_per_vote * factors);
    let factor = vote % factors;
    let value = latents[factor];
    latents.iter_mut().skip(factor).step_by(factors).for_each(|latent| *latent = value);
    latents
}

/// Decodes `latents` with model `i` and appends each other model's means of these images to its list.
fn encode_with_others(models: &[&dyn Autoencoder], i: usize, latents: &[f32], means: &mut [Vec<f32>]) -> Result<()> {
    let images = models[i].decode(latents)?;
    for (j, (model, means)) in models.iter().zip(means).enumerate() {
        if j != i {
            means.extend(model.encode(&images)?.mean);
        }
    }
    Ok(())
}

/// The variance (over n - 1) of each latent of `means (n, latents)`.
fn variances(means: &[f32], latents: usize) -> Vec<f64> {
    let n = (means.len() / latents.max(1)) as f64;
    let variance = |latent: usize| {
        let values = || means.iter().skip(latent).step_by(latents).map(|&z| f64::from(z));
        let mean = values().sum::<f64>() / n;
        values().map(|z| (z - mean).powi(2)).sum::<f64>() / (n - 1.0)
    };
    (0..latents).into_par_iter().map(variance).collect()
}

/// The latent that varies least for its scale, the first of equals; none where nothing moves.
fn stillest(variance: &[f64], scale: &[f64]) -> Option<usize> {
    let ratio = |&latent: &usize| variance[latent] / scale[latent];
    (0..scale.len()).filter(|&latent| scale[latent] > 0.0).min_by(|a, b| ratio(a).total_cmp(&ratio(b)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ImageShape, Posterior};

    /// Four latents; pixel k is the k-th of the latents turned by `degrees` in pairs and permuted.
    struct Turned {
        degrees: f32,
        order: [usize; 4],
    }

    impl Turned {
        fn turn(&self, v: [f32; 4], sign: f32) -> [f32; 4] {
            let (sin, cos) = (sign * self.degrees).to_radians().sin_cos();
            let [a, b, c, d] = v;
            [cos * a - sin * b, sin * a + cos * b, cos * c - sin * d, sin * c + cos * d]
        }
    }

    impl Autoencoder for Turned {
        fn image(&self) -> ImageShape {
            ImageShape { channels: 1, height: 2, width: 2 }
        }

        fn latents(&self) -> usize {
            4
        }

        fn encode(&self, images: &[u8]) -> Result<Posterior> {
            let code = |pixels: &[u8]| {
                let pixels = self.order.map(|k| (f32::from(pixels[k]) - 128.0) / 30.0);
                self.turn(pixels, 1.0)
            };
            let mean: Vec<f32> = images.chunks_exact(4).flat_map(code).collect();
            Ok(Posterior { log_var: vec![-4.0; mean.len()], mean })
        }

        fn decode(&self, latents: &[f32]) -> Result<Vec<u8>> {
            let image = |z: &[f32]| {
                let values = self.turn([z[0], z[1], z[2], z[3]], -1.0);
                let mut pixels = [0; 4];
                self.order.iter().zip(values).for_each(|(&k, value)| pixels[k] = (128.0 + 30.0 * value).round() as u8);
                pixels
            };
            Ok(latents.chunks_exact(4).flat_map(image).collect())
        }
    }

    const SMALL: Protocol = Protocol { images_per_vote: 20, votes: 80, scale_samples: 600 };

    #[test]
    fn models_with_the_same_latents_are_central_and_turned_ones_are_not() {
        let model = |degrees, order| Turned { degrees, order };
        let models =
            [model(0.0, [0, 1, 2, 3]), model(0.0, [3, 1, 0, 2]), model(0.0, [1, 0, 3, 2]), model(45.0, [0, 1, 2, 3])];
        let models: Vec<&dyn Autoencoder> = models.iter().map(|model| model as &dyn Autoencoder).collect();
        let found = agreements(&models, &SMALL, 1, &|done, all| assert!(done <= all)).unwrap();
        assert_eq!((found[0][1], found[1][2], found[2][0]), (1.0, 1.0, 1.0));
        let score = |i: usize| centrality(&found, i, &(0..4).filter(|&j| j != i).collect::<Vec<_>>());
        let scores: Vec<f64> = (0..4).map(score).collect();
        assert!(scores[..3].iter().all(|&score| score > scores[3] + 0.1), "{scores:?}");
        assert_eq!(found, agreements(&models, &SMALL, 1, &|_, _| {}).unwrap());
        assert_eq!(centrality(&[vec![0.0, 0.4], vec![0.8, 0.0]], 0, &[1]), (0.4 + 0.8) / 2.0);
    }

    #[test]
    fn numbers_that_make_no_vote_are_refused() {
        let model = Turned { degrees: 0.0, order: [0, 1, 2, 3] };
        let error = agreements(&[&model], &Protocol { images_per_vote: 1, ..SMALL }, 0, &|_, _| {}).unwrap_err();
        assert_eq!(error.to_string(), "images_per_vote = 1: expected at least 2");
    }
}
