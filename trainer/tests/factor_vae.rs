//! FactorVAE against its paper: the estimator on known answers, the algorithm step by step.

mod support;

use std::collections::BTreeMap;

use candle_core::{Device, Result, Tensor};
use support::factor_vae::{SEED, adam, batch, factor_vae, small};
use unbraid_trainer::{
    Error,
    model::Architecture,
    nn::Init,
    objective::{
        Batch, Company, Objective,
        factor_vae::{Discriminator, FactorVae, FactorVaeOptions, permute_dims},
    },
    rng::{self, Purpose},
};

/// Weights and moments as they are now: training changes them in place.
fn snapshot(objective: &FactorVae) -> BTreeMap<String, Tensor> {
    objective.state().into_iter().map(|(name, tensor)| (name, tensor.copy().unwrap())).collect()
}

fn value(tensor: &Tensor) -> f32 {
    tensor.to_scalar().unwrap()
}

/// `n` points of a Gaussian whose dimensions are correlated in pairs with `rho`.
fn correlated_pairs(n: usize, latents: usize, rho: f32, seed: u64, step: u64) -> Tensor {
    let mut z = rng::normals(&mut rng::stream(seed, Purpose::Noise, step), n * latents);
    for pair in z.as_chunks_mut::<2>().0 {
        pair[1] = rho * pair[0] + (1.0 - rho * rho).sqrt() * pair[1];
    }
    Tensor::from_vec(z, (n, latents), &Device::Cpu).unwrap()
}

/// TC = -(D/4)·ln(1 - rho²) for a D-dimensional Gaussian correlated in pairs.
#[test]
fn total_correlation_of_correlated_gaussians_is_found() {
    let (latents, n) = (10, 256);
    let options = FactorVaeOptions {
        discriminator_units: 128,
        discriminator_layers: 3,
        discriminator_learning_rate: 1e-3,
        ..FactorVaeOptions::default()
    };
    for rho in [0.0_f32, 0.6, 0.9] {
        let truth = -(latents as f32 / 4.0) * (1.0 - rho * rho).ln();
        let mut discriminator = Discriminator::new(latents, &options, SEED, &Device::Cpu).unwrap();
        for step in 1..=800 {
            let z = correlated_pairs(n, latents, rho, 1, step);
            let other = correlated_pairs(n, latents, rho, 2, step);
            let joint = discriminator.log_ratio(&z).unwrap();
            discriminator.step(&joint, &permute_dims(&other, SEED, step).unwrap(), step, Company::ALONE).unwrap();
        }
        let fresh = correlated_pairs(20_000, latents, rho, 3, 0);
        let log_ratio = discriminator.log_ratio(&fresh).unwrap().toward_input().unwrap();
        let estimate = value(&log_ratio.mean_all().unwrap());
        let tolerance = 0.1 + 0.1 * truth;
        assert!((estimate - truth).abs() < tolerance, "rho {rho}: estimated {estimate}, true {truth}");
    }
}

#[test]
fn permute_dims_shuffles_each_latent_on_its_own_across_the_batch() {
    let (n, latents) = (64, 5);
    let values: Vec<f32> = (0..n * latents).map(|i| i as f32).collect();
    let z = Tensor::from_vec(values, (n, latents), &Device::Cpu).unwrap();
    let permuted = permute_dims(&z, SEED, 1).unwrap();
    let columns = |t: &Tensor| t.t().unwrap().to_vec2::<f32>().unwrap();
    let (before, after) = (columns(&z), columns(&permuted));
    let mut orders = Vec::new();
    for (before, after) in before.iter().zip(&after) {
        let mut sorted = after.clone();
        sorted.sort_unstable_by(f32::total_cmp);
        assert_eq!(&sorted, before, "a latent keeps its values");
        assert_ne!(after, before);
        orders.push(after.iter().map(|v| *v as usize / latents).collect::<Vec<_>>());
    }
    orders.dedup();
    assert_eq!(orders.len(), latents, "every latent has an order of its own");
    assert_ne!(columns(&permute_dims(&z, SEED, 2).unwrap()), after, "another step, another order");
    assert_eq!(columns(&permute_dims(&z, SEED, 1).unwrap()), after);
}

/// The terms of a step from candle's own layers and the equations of the paper.
#[test]
fn the_terms_are_those_of_algorithm_2() {
    let mut objective = factor_vae(&FactorVaeOptions { gamma: 7.0, ..small() });
    let state = snapshot(&objective);
    let batch = batch(6, 1);
    let terms: BTreeMap<_, _> = objective.step(&batch, Company::ALONE).unwrap().into_iter().collect();

    let noise = |which: u64| {
        let noise = rng::normals(&mut rng::stream(SEED, Purpose::Noise, 2 + which), 6 * 4);
        Tensor::from_vec(noise, (6, 4), &Device::Cpu).unwrap()
    };
    let reference = || -> Result<[f32; 4]> {
        let code = reference::encode(&state, &batch.images[0])?;
        let (mean, log_var) = (code.narrow(1, 0, 4)?, code.narrow(1, 4, 4)?);
        let z = (&mean + ((&log_var / 2.0)?.exp()? * noise(0))?)?;
        let p = candle_nn::ops::sigmoid(&reference::decode(&state, &z)?)?;
        let x = batch.images[0].reshape((6, 1, 64, 64))?;
        let log_likelihood = (x.mul(&p.log()?)? + x.affine(-1.0, 1.0)?.mul(&p.affine(-1.0, 1.0)?.log()?)?)?;
        let reconstruction = (log_likelihood.sum_all()? / -6.0)?;
        let kl = ((((mean.sqr()? + log_var.exp()?)? - &log_var)? - 1.0)?.sum_all()? / 12.0)?;
        let logits = reference::discriminate(&state, &z)?;
        let tc = (logits.narrow(1, 0, 1)? - logits.narrow(1, 1, 1)?)?.mean_all()?;
        let loss = ((&reconstruction + &kl)? + (&tc * 7.0)?)?;
        Ok([value(&loss), value(&reconstruction), value(&kl), value(&tc)])
    };
    let expected = reference().unwrap();
    for (name, expected) in ["loss", "reconstruction", "kl", "total_correlation"].iter().zip(expected) {
        assert!(
            (terms[name] - expected).abs() < 1e-4 * expected.abs().max(1.0),
            "{name}: {} vs {expected}",
            terms[name]
        );
    }

    // The discriminator saw z1 of the old encoder and z2 of the new one, and had its old weights.
    let after = snapshot(&objective);
    let reference = || -> Result<f32> {
        let sample = |weights: &BTreeMap<String, Tensor>, images: &Tensor, noise: Tensor| -> Result<Tensor> {
            let code = reference::encode(weights, images)?;
            code.narrow(1, 0, 4)? + ((code.narrow(1, 4, 4)? / 2.0)?.exp()? * noise)?
        };
        let z1 = sample(&state, &batch.images[0], noise(0))?;
        let z2 = sample(&after, &batch.images[1], noise(1))?;
        let z2 = permute_dims(&z2, SEED, 1).unwrap();
        let cross_entropy = |z: &Tensor, class: u32| {
            let classes = Tensor::full(class, 6, &Device::Cpu)?;
            candle_nn::loss::cross_entropy(&reference::discriminate(&state, z)?, &classes)
        };
        Ok(0.5 * (value(&cross_entropy(&z1, 0)?) + value(&cross_entropy(&z2, 1)?)))
    };
    let expected = reference().unwrap();
    assert!((terms["discriminator_loss"] - expected).abs() < 1e-4, "{} vs {expected}", terms["discriminator_loss"]);
}

/// With γ = 0 nothing of the discriminator may reach the VAE, and its own step never does.
#[test]
fn the_discriminators_step_leaves_the_vae_alone() {
    let of_vae = |objective: &FactorVae| -> Vec<Vec<f32>> {
        let is_vae = |name: &str| name.starts_with("encoder.") || name.starts_with("decoder.");
        let state = objective.state().into_iter().filter(|(name, _)| is_vae(name));
        state.map(|(_, t)| t.flatten_all().unwrap().to_vec1().unwrap()).collect()
    };
    let mut results = Vec::new();
    for discriminator_learning_rate in [1e-5, 1e-1] {
        let options = FactorVaeOptions { gamma: 0.0, discriminator_learning_rate, ..small() };
        let mut objective = factor_vae(&options);
        (1..=3).for_each(|step| drop(objective.step(&batch(6, step), Company::ALONE).unwrap()));
        results.push(of_vae(&objective));
    }
    assert_eq!(results[0], results[1]);
    // And with γ the VAE does listen.
    let mut listening = factor_vae(&FactorVaeOptions { gamma: 50.0, ..small() });
    (1..=3).for_each(|step| drop(listening.step(&batch(6, step), Company::ALONE).unwrap()));
    assert_ne!(of_vae(&listening), results[0]);
}

#[test]
fn both_readings_of_the_discriminator_have_the_published_size() {
    for (layers, parameters) in [(6, 5_018_002), (5, 4_017_002)] {
        let options = FactorVaeOptions { discriminator_layers: layers, ..FactorVaeOptions::default() };
        let net = Architecture::preset("factor-vae-64", 10).unwrap();
        let objective = FactorVae::new(&net, &options, adam(), Init::He, 0, &Device::Cpu).unwrap();
        let weights = objective.state().into_iter().filter(|(name, _)| name.starts_with("discriminator."));
        let weights =
            weights.filter(|(name, _)| !name.starts_with("discriminator.m") && !name.starts_with("discriminator.v"));
        assert_eq!(weights.map(|(_, t)| t.elem_count()).sum::<usize>(), parameters);
    }
}

#[test]
fn the_loss_falls() {
    let mut objective = factor_vae(&small());
    let losses: Vec<f32> = (1..=12)
        .map(|step| {
            objective
                .step(&Batch { step, ..batch(6, 1) }, Company::ALONE)
                .unwrap()
                .into_iter()
                .find(|t| t.0 == "reconstruction")
                .unwrap()
                .1
        })
        .collect();
    assert!(losses[11] < 0.9 * losses[0], "{losses:?}");
}

#[test]
fn a_loss_that_is_no_number_stops_before_it_changes_a_weight() {
    let mut objective = factor_vae(&small());
    let before = snapshot(&objective);
    let mut broken = batch(6, 9);
    broken.images[0] = (&broken.images[0] * f64::NAN).unwrap();
    let error = objective.step(&broken, Company::ALONE).unwrap_err();
    assert!(matches!(&error, Error::NotFinite { step: 9, term, .. } if term == "loss"), "{error}");
    for (name, tensor) in objective.state() {
        let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(values(&tensor), values(&before[&name]), "{name}");
    }
}

/// What a GPU runs, on the CPU: the layers of candle's operations, against the fused ones.
#[test]
fn composed_layers_train_as_fused_ones_do() {
    let (mut fused, mut composed) = (factor_vae(&small()), factor_vae(&small()));
    composed.compose_layers();
    let start = snapshot(&fused);
    let terms = |objective: &mut FactorVae| objective.step(&batch(6, 1), Company::ALONE).unwrap();
    for (ours, theirs) in terms(&mut fused).into_iter().zip(terms(&mut composed)) {
        let tolerance = 1e-3 * theirs.1.abs().max(1.0);
        assert!(ours.0 == theirs.0 && (ours.1 - theirs.1).abs() < tolerance, "{ours:?} vs {theirs:?}");
    }
    let norm = |t: &Tensor| t.sqr().unwrap().sum_all().unwrap().sqrt().unwrap().to_scalar::<f32>().unwrap();
    let (fused, composed) = (snapshot(&fused), snapshot(&composed));
    for (name, theirs) in &composed {
        let moved = norm(&(theirs - &start[name]).unwrap());
        let apart = norm(&(&fused[name] - theirs).unwrap());
        // A sum that is 0 but for rounding can pass a ReLU in one and not in the other; and Adam's first step goes by the sign of
        // a gradient, so where that is next to nothing a weight may go either way.
        let tolerance = if name.contains(".m.") || name.contains(".v.") { 0.002 } else { 0.05 };
        assert!(moved > 0.0 && apart < tolerance * moved, "{name}: {apart} apart, moved by {moved}");
    }
    // No terms are wanted between two lines of the log: none is read.
    let mut objective = factor_vae(&small());
    let company = Company { terms: false, ..Company::ALONE };
    assert!(objective.step(&batch(6, 1), company).unwrap().is_empty());
}

/// Weights that are no numbers show in the terms: no layer turns them into zeros.
#[test]
fn a_weight_that_is_no_number_stops_the_step() {
    for name in ["encoder.0.bias", "decoder.1.weight", "discriminator.0.bias"] {
        let mut objective = factor_vae(&small());
        let mut state = snapshot(&objective);
        let broken = (&state[name] * f64::NAN).unwrap();
        state.insert(name.into(), broken);
        objective.restore(&state, 0).unwrap();
        let error = objective.step(&batch(6, 1), Company::ALONE).unwrap_err();
        assert!(matches!(&error, Error::NotFinite { step: 1, .. }), "{name}: {error}");
    }
}

/// The networks out of candle's stock layers, `(N, C, H, W)`.
mod reference {
    use super::*;

    fn linear(weights: &BTreeMap<String, Tensor>, name: &str, x: &Tensor) -> Result<Tensor> {
        x.matmul(&weights[&format!("{name}.weight")].t()?)?.broadcast_add(&weights[&format!("{name}.bias")])
    }

    fn bias(weights: &BTreeMap<String, Tensor>, name: &str) -> Result<Tensor> {
        weights[&format!("{name}.bias")].reshape((1, (), 1, 1))
    }

    pub fn encode(weights: &BTreeMap<String, Tensor>, images: &Tensor) -> Result<Tensor> {
        let mut x = images.reshape((images.dim(0)?, 1, 64, 64))?;
        for i in 0..4 {
            let name = format!("encoder.{i}");
            let y = x.conv2d(&weights[&format!("{name}.weight")], 1, 2, 1, 1)?;
            x = y.broadcast_add(&bias(weights, &name)?)?.relu()?;
        }
        linear(weights, "encoder.6", &linear(weights, "encoder.5", &x.flatten_from(1)?)?.relu()?)
    }

    pub fn decode(weights: &BTreeMap<String, Tensor>, z: &Tensor) -> Result<Tensor> {
        let x = linear(weights, "decoder.1", &linear(weights, "decoder.0", z)?.relu()?)?.relu()?;
        let mut x = x.reshape((z.dim(0)?, 64, 4, 4))?;
        for i in 3..7 {
            let name = format!("decoder.{i}");
            let y = x.conv_transpose2d(&weights[&format!("{name}.weight")], 1, 0, 2, 1)?;
            x = y.broadcast_add(&bias(weights, &name)?)?;
            if i < 6 {
                x = x.relu()?;
            }
        }
        Ok(x)
    }

    pub fn discriminate(weights: &BTreeMap<String, Tensor>, z: &Tensor) -> Result<Tensor> {
        let hidden = |name, x: &Tensor| candle_nn::ops::leaky_relu(&linear(weights, name, x)?, 0.2);
        linear(weights, "discriminator.2", &hidden("discriminator.1", &hidden("discriminator.0", z)?)?)
    }
}
