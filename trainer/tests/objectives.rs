//! The systems that regularize a VAE, each by its own mechanism, on sprites.

mod support;

use std::{collections::BTreeMap, thread};

use candle_core::{Device, Tensor};
use support::{factor_vae::snapshot, start};
use unbraid_trainer::{
    data::sprites::Sprites,
    objective::{
        Batch, Company, Objective, Options, System,
        annealed_vae::AnnealedVaeOptions,
        beta_tcvae::{KlParts, Sampling},
        dip_vae::{self, Variant},
        vae::Gaussian,
    },
    rng::{self, Purpose},
    train::loader::{Draw, Loader},
};

const LATENTS: usize = 4;

fn options() -> Options {
    let mut options = Options::default();
    options.vae.learning_rate = 2e-3;
    options
}

/// Trains `system` on `steps` minibatches of 32 sprites; the terms of each step.
fn train(system: System, options: &Options, steps: u64) -> (Box<dyn Objective>, Vec<BTreeMap<&'static str, f32>>) {
    let mut objective = start(system, options);
    let draw = Draw { seed: 1, minibatches: objective.minibatches(), batch_size: 32, rank: 0, world_size: 1 };
    let terms = thread::scope(|scope| {
        let mut loader = Loader::start(scope, &Sprites, draw, 1..=steps, &Device::Cpu);
        let step = |_| objective.step(&loader.next_batch().unwrap(), Company::ALONE).unwrap().into_iter().collect();
        (1..=steps).map(step).collect()
    });
    (objective, terms)
}

/// The average of a term over the last 50 steps.
fn last(terms: &[BTreeMap<&'static str, f32>], name: &str) -> f32 {
    terms[terms.len() - 50..].iter().map(|terms| terms[name]).sum::<f32>() / 50.0
}

/// q(z|x) of 256 sprites and a sample of each.
fn posterior(objective: &dyn Objective) -> (Gaussian, Tensor) {
    let draw = Draw { seed: 77, minibatches: 1, batch_size: 256, rank: 0, world_size: 1 };
    let images = thread::scope(|scope| {
        Loader::start(scope, &Sprites, draw, 1..=1, &Device::Cpu).next_batch().unwrap().images.remove(0)
    });
    let code = objective.networks().0.forward_frozen(&images).unwrap();
    let half = |from| code.narrow(1, from, LATENTS).unwrap().contiguous().unwrap();
    let q = Gaussian { mean: half(0), log_var: half(LATENTS) };
    let noise = rng::normals(&mut rng::stream(7, Purpose::Noise, 0), 256 * LATENTS);
    let z = q.sample(&Tensor::from_vec(noise, (256, LATENTS), &Device::Cpu).unwrap()).unwrap();
    (q, z)
}

fn value(tensor: &Tensor) -> f32 {
    tensor.to_scalar().unwrap()
}

#[test]
fn beta_vae_with_beta_1_is_the_vae_and_a_greater_beta_takes_information() {
    let beta = |beta| {
        let mut options = options();
        options.beta_vae.beta = beta;
        train(System::BetaVae, &options, 250)
    };
    let (vae, terms) = train(System::Vae, &options(), 250);
    let (same, same_terms) = beta(1.0);
    assert!(snapshot(&*vae) == snapshot(&*same) && terms == same_terms);
    let (_, terms_16) = beta(16.0);
    let [kl, kl_16] = [&terms, &terms_16].map(|terms| last(terms, "kl"));
    assert!(kl_16 < 0.7 * kl, "KL {kl_16} with β = 16, {kl} without");
}

#[test]
fn annealed_vaes_kl_follows_the_capacity() {
    let mut options = options();
    options.annealed_vae = AnnealedVaeOptions { capacity_gamma: 100.0, capacity_max: 8.0, capacity_steps: 500 };
    let (_, terms) = train(System::AnnealedVae, &options, 600);
    for end in [200, 300, 400, 500, 600] {
        let [kl, capacity] = ["kl", "capacity"].map(|name| last(&terms[..end], name));
        assert!((kl - capacity).abs() < 0.1 * capacity, "KL {kl}, capacity {capacity} before step {end}");
    }
    assert_eq!(terms[249]["capacity"], 4.0);
    assert_eq!(terms[599]["capacity"], 8.0);
}

/// The estimates by the formulas of the paper, one number at a time.
#[test]
fn the_parts_of_the_kl_are_those_of_the_formulas_and_add_up() {
    let (n, images) = (6, 1000.0_f64);
    let draw = |position| rng::normals(&mut rng::stream(1, Purpose::Noise, position), n * LATENTS);
    let tensor = |values: &[f32]| Tensor::from_slice(values, (n, LATENTS), &Device::Cpu).unwrap();
    let (mean, log_var, z) = (draw(1), draw(2), draw(3));
    let q = Gaussian { mean: tensor(&mean), log_var: tensor(&log_var) };
    let density = |i: usize, j: usize, k: usize| {
        let [z, m, v] = [z[i * LATENTS + k], mean[j * LATENTS + k], log_var[j * LATENTS + k]].map(f64::from);
        (-0.5 * ((z - m).powi(2) / v.exp() + v + std::f64::consts::TAU.ln())).exp()
    };
    for sampling in [Sampling::Weighted, Sampling::Stratified] {
        let weight = |i: usize, j: usize| match sampling {
            Sampling::Weighted => 1.0 / (n as f64 * images),
            Sampling::Stratified if i == j => 1.0 / images,
            Sampling::Stratified if j == (i + 1) % n => (images - 5.0) / (images * 5.0),
            Sampling::Stratified => 1.0 / 5.0,
        };
        let [mut mutual, mut total, mut wise] = [0.0; 3];
        for i in 0..n {
            let of = |ks: std::ops::Range<usize>| -> f64 {
                (0..n).map(|j| weight(i, j) * ks.clone().map(|k| density(i, j, k)).product::<f64>()).sum()
            };
            let joint = of(0..LATENTS).ln();
            let marginals: f64 = (0..LATENTS).map(|k| of(k..k + 1).ln()).sum();
            let posterior: f64 = (0..LATENTS).map(|k| density(i, i, k).ln()).sum();
            let of_prior = |z: &f32| -0.5 * (f64::from(*z).powi(2) + std::f64::consts::TAU.ln());
            let prior: f64 = z[i * LATENTS..][..LATENTS].iter().map(of_prior).sum();
            mutual += (posterior - joint) / n as f64;
            total += (joint - marginals) / n as f64;
            wise += (marginals - prior) / n as f64;
        }
        let parts = KlParts::estimate(&q, &tensor(&z), sampling, 1000).unwrap();
        for (found, expected) in
            [(&parts.mutual_information, mutual), (&parts.total_correlation, total), (&parts.dimension_wise_kl, wise)]
        {
            assert!((f64::from(value(found)) - expected).abs() < 1e-4 * expected.abs(), "{sampling:?}: {expected}");
        }
    }
}

#[test]
fn beta_tcvae_lowers_the_total_correlation() {
    let total_correlation = |objective: &dyn Objective, sampling| {
        let (q, z) = posterior(objective);
        value(&KlParts::estimate(&q, &z, sampling, 737_280).unwrap().total_correlation)
    };
    let (vae, _) = train(System::Vae, &options(), 400);
    for sampling in [Sampling::Weighted, Sampling::Stratified] {
        let mut options = options();
        options.beta_tcvae.tcvae_sampling = sampling;
        let (tcvae, _) = train(System::BetaTcvae, &options, 400);
        let [before, after] = [&vae, &tcvae].map(|objective| total_correlation(&**objective, sampling));
        assert!(after < before - 0.3, "{sampling:?}: TC {after}, of the VAE {before}");
    }
}

#[test]
fn dip_vaes_pull_their_covariance_to_the_identity() {
    let distances = |objective: &dyn Objective, variant| {
        let covariance = dip_vae::covariance(&posterior(objective).0, variant).unwrap().to_vec2::<f32>().unwrap();
        let mut sums = [0.0; 2];
        for (i, row) in covariance.iter().enumerate() {
            for (j, value) in row.iter().enumerate() {
                sums[usize::from(i == j)] += if i == j { (value - 1.0).powi(2) } else { value * value };
            }
        }
        sums
    };
    let (vae, _) = train(System::Vae, &options(), 300);
    for (system, variant) in [(System::DipVaeI, Variant::I), (System::DipVaeIi, Variant::Ii)] {
        let mut variances_alone = options();
        (variances_alone.dip_vae_i.dip_i_lambda_od, variances_alone.dip_vae_ii.dip_ii_lambda_od) = (0.0, 0.0);
        let of = |options| distances(&*train(system, options, 300).0, variant);
        let ([_, diagonal], before, after) = (distances(&*vae, variant), of(&variances_alone), of(&options()));
        assert!(after[0] < 0.5 * before[0], "{variant:?}: {after:?}, {before:?} without λ_od");
        assert!(after[1] < 0.5 * diagonal, "{variant:?}: {after:?}, {diagonal} of the VAE");
    }
}

/// II counts the variances of the encoder, I does not.
#[test]
fn the_covariances_are_those_of_the_formulas() {
    let tensor = |values: [[f32; 2]; 2]| Tensor::new(&values, &Device::Cpu).unwrap();
    let q = Gaussian { mean: tensor([[1.0, 4.0], [3.0, 0.0]]), log_var: tensor([[0.0, 0.0], [0.0, 3_f32.ln()]]) };
    let covariance = |variant| dip_vae::covariance(&q, variant).unwrap().to_vec2::<f32>().unwrap();
    assert_eq!(covariance(Variant::I), [[1.0, -2.0], [-2.0, 4.0]]);
    assert_eq!(covariance(Variant::Ii), [[2.0, -2.0], [-2.0, 6.0]]);
}

#[test]
fn two_minibatches_are_refused() {
    let images = support::factor_vae::batch(2, 1).images;
    let error = start(System::Vae, &options()).step(&Batch { step: 1, images }, Company::ALONE).unwrap_err();
    assert!(error.to_string().contains("one minibatch"), "{error}");
}
