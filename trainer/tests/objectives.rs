//! The systems that regularize a VAE, each by its own mechanism, on sprites.

mod support;

use std::{collections::BTreeMap, thread};

use candle_core::{Device, Tensor};
use support::{factor_vae::snapshot, start, start_on};
use unbraid_trainer::{
    Result,
    data::{self, Dataset, FactorInfo, sprites::Sprites},
    model::{Architecture, ImageShape},
    nn::Init,
    objective::{
        Batch, Company, Objective, Options, Setup, System,
        annealed_vae::AnnealedVaeOptions,
        beta_tcvae::{KlParts, Sampling},
        dc_ign::{Clamp, DcIgnOptions},
        dip_vae::{self, Variant},
        vae::Gaussian,
    },
    rng::{self, Purpose},
    train::loader::{Draw, Loader},
};

const LATENTS: usize = 5;

fn options() -> Options {
    let mut options = Options::default();
    options.vae.learning_rate = 2e-3;
    options
}

/// Trains `system` on `steps` minibatches of 32 sprites; the terms of each step.
fn train(system: System, options: &Options, steps: u64) -> (Box<dyn Objective>, Vec<BTreeMap<&'static str, f32>>) {
    train_on(&Sprites, start(system, options), 32, steps)
}

/// [`train`] of `objective` on other data.
fn train_on(
    dataset: &dyn Dataset,
    mut objective: Box<dyn Objective>,
    batch_size: usize,
    steps: u64,
) -> (Box<dyn Objective>, Vec<BTreeMap<&'static str, f32>>) {
    let draw = Draw::new(&*objective, 1, batch_size);
    let terms = thread::scope(|scope| {
        let mut loader = Loader::start(scope, dataset, draw, 1..=steps, &Device::Cpu);
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
    let draw = Draw { kinds: Vec::new(), ..Draw::new(objective, 77, 256) };
    let images = thread::scope(|scope| {
        Loader::start(scope, &Sprites, draw, 1..=1, &Device::Cpu).next_batch().unwrap().images.remove(0)
    });
    let code = objective.networks().unwrap().0.forward_frozen(&images).unwrap();
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

/// Numbers of the sprites' factors.
const FACTORS: [&str; 5] = ["shape", "scale", "rotation", "x", "y"];

#[test]
fn dc_igns_minibatches_vary_in_one_factor_or_in_the_intrinsic_ones() {
    let options = DcIgnOptions { dcign_intrinsic: "scale, shape".into(), ..DcIgnOptions::default() };
    let objective = start(System::DcIgn, &Options { dc_ign: options, ..Options::default() });
    let draw = Draw::new(&*objective, 9, 64);
    let mut counts = BTreeMap::new();
    for step in 1..=400 {
        let (indices, kind) = draw.indices(&Sprites, step).unwrap();
        assert!(indices.iter().all(|&index| !data::is_held_out(index)));
        let values: Vec<_> = indices.iter().map(|&index| Sprites.factor_values(index)).collect();
        let varies = |factor: &usize| values.iter().any(|value| value[*factor] != values[0][*factor]);
        let varying: Vec<_> = (0..5).filter(varies).collect();
        assert_eq!(varying, objective.kinds()[kind].factors);
        let varying: Vec<_> = varying.into_iter().map(|factor| FACTORS[factor]).collect();
        *counts.entry(varying).or_insert(0) += 1;
    }
    // 10 of 13, and one each.
    assert_eq!(counts.len(), 4, "{counts:?}");
    assert!((270..=345).contains(&counts[&vec!["shape", "scale"]]), "{counts:?}");
    for factor in ["rotation", "x", "y"] {
        assert!((15..=50).contains(&counts[&vec![factor]]), "{counts:?}");
    }
}

/// What an inactive latent's weights in the encoder's last layer get.
#[test]
fn dc_ign_replaces_the_gradients_of_inactive_latents() {
    let moments = |dcign_clamp, dcign_gradient_scale| -> Vec<Vec<f32>> {
        let dc_ign = DcIgnOptions { dcign_clamp, dcign_gradient_scale, ..DcIgnOptions::default() };
        let mut objective = start(System::DcIgn, &Options { dc_ign, ..options() });
        let batch = Batch { kind: 0, ..support::factor_vae::batch(8, 1) };
        let batch = Batch { images: batch.images[..1].to_vec(), ..batch };
        objective.step(&batch, Company::ALONE).unwrap();
        // Adam's first moment after one step is a tenth of the gradient. Rows: means, then log-variances.
        objective.state()["vae.m.encoder.3.weight"].to_vec2().unwrap()
    };
    let groups = DcIgnOptions::default().groups(&Sprites, LATENTS).unwrap();
    let active = &groups[0].latents;
    let [first, none, once, twice] = [(Clamp::First, 1.0), (Clamp::Mean, 0.0), (Clamp::Mean, 1.0), (Clamp::Mean, 2.0)]
        .map(|(clamp, scale)| moments(clamp, scale));
    for latent in 0..LATENTS {
        for row in [latent, LATENTS + latent] {
            if active.contains(&latent) {
                assert!(first[row] != none[row] && none[row] == twice[row]);
                continue;
            }
            // What is left without the replacement is the KL divergence's, whatever was decoded.
            assert_eq!(first[row], none[row]);
            let added = |rows: &[Vec<f32>]| -> f32 {
                rows[row].iter().zip(&none[row]).map(|(with, without)| (with - without).abs()).sum()
            };
            assert!(added(&once) > 0.0 && (added(&twice) / added(&once) - 2.0).abs() < 1e-2);
        }
    }
}

/// Large upright sprites: shape, x and y. One scene a minibatch teaches slowly; fewer scenes, fewer steps.
struct Positions;

impl Dataset for Positions {
    fn name(&self) -> &str {
        "positions"
    }

    fn len(&self) -> usize {
        3 * 32 * 32
    }

    fn image(&self) -> ImageShape {
        Sprites.image()
    }

    fn render(&self, index: usize, pixels: &mut [u8]) -> Result<()> {
        let values = self.factor_values(index);
        Sprites.render(data::index_of(&Sprites, &[values[0], 5, 0, values[1], values[2]])?, pixels)
    }

    fn factors(&self) -> &[FactorInfo] {
        const { &[FactorInfo::new("shape", 3), FactorInfo::new("x", 32), FactorInfo::new("y", 32)] }
    }
}

/// A latent follows the factor that it is meant for.
#[test]
fn dc_ign_puts_each_factor_into_its_own_latent() {
    let architecture = Architecture::preset("factor-vae-64", LATENTS).unwrap();
    for dcign_clamp in [Clamp::Mean, Clamp::First] {
        let dc_ign = DcIgnOptions { dcign_clamp, dcign_intrinsic_ratio: 1.0, ..DcIgnOptions::default() };
        let mut options = Options { dc_ign, ..Options::default() };
        options.vae.learning_rate = 1e-3;
        let objective = start_on(&Positions, &architecture, System::DcIgn, &options);
        let (objective, _) = train_on(&Positions, objective, 8, 800);
        for (latent, factor) in [(0, 1), (1, 2)] {
            let mut variances = [0.0; LATENTS];
            for shape in 0..3 {
                let image = |value| {
                    let mut values = [shape, 12, 20];
                    values[factor] = value;
                    Positions.index_of(&values).unwrap()
                };
                let pixels = Positions.batch(&(0..32).map(image).collect::<Vec<_>>()).unwrap();
                let pixels: Vec<f32> = pixels.into_iter().map(|p| f32::from(p) / 255.0).collect();
                let images = Tensor::from_vec(pixels, (32, 64, 64, 1), &Device::Cpu).unwrap();
                let means =
                    objective.networks().unwrap().0.forward_frozen(&images).unwrap().narrow(1, 0, LATENTS).unwrap();
                let of_shape = means.var(0).unwrap().to_vec1::<f32>().unwrap();
                variances.iter_mut().zip(of_shape).for_each(|(sum, variance)| *sum += variance);
            }
            let share = variances[latent] / variances.iter().sum::<f32>();
            assert!(share > 0.5, "{dcign_clamp:?}, latent {latent}: {share} of {variances:?}");
        }
    }
}

/// PCA and ICA of 10 components on 2,000 sprites.
#[test]
fn pca_and_ica_span_the_same_images_with_codes_of_variance_1() {
    let architecture = Architecture::preset("linear", 10).unwrap();
    let fit = |system: System| {
        let (dataset, device, init) = (&Sprites, &Device::Cpu, Init::He);
        let setup = Setup { architecture: &architecture, init, seed: 3, dataset, device };
        let mut objective = system.start(setup, &Options::default()).unwrap();
        let draw = Draw::new(&*objective, 1, 2000);
        let batch = thread::scope(|scope| Loader::start(scope, &Sprites, draw, 1..=1, device).next_batch().unwrap());
        let terms: BTreeMap<_, _> = objective.step(&batch, Company::ALONE).unwrap().into_iter().collect();
        let (encoder, decoder) = objective.networks().unwrap();
        let codes = encoder.forward_frozen(&batch.images[0]).unwrap().narrow(1, 0, 10).unwrap();
        let decoded = decoder.forward_frozen(&codes).unwrap();
        (terms, codes, decoded, batch.images[0].clone())
    };
    let (pca, pca_codes, pca_images, images) = fit(System::Pca);
    let (_, ica_codes, ica_images, _) = fit(System::Ica);
    // The squared error is the variance that the components do not have.
    let centered = images.broadcast_sub(&images.mean_keepdim(0).unwrap()).unwrap();
    let variance = value(&centered.sqr().unwrap().sum_all().unwrap()) / 2000.0;
    let expected = variance * (1.0 - pca["explained_variance"]);
    assert!((pca["squared_error"] / expected - 1.0).abs() < 1e-3, "{pca:?}, expected {expected}");
    assert!((0.3..0.9).contains(&pca["explained_variance"]));
    for codes in [&pca_codes, &ica_codes] {
        let covariance = (codes.t().unwrap().matmul(codes).unwrap() / 2000.0).unwrap().to_vec2::<f32>().unwrap();
        for (i, row) in covariance.iter().enumerate() {
            for (j, value) in row.iter().enumerate() {
                assert!((value - f32::from(u8::from(i == j))).abs() < 1e-2, "{i}, {j}: {value}");
            }
        }
    }
    let distance = value(&(pca_images - ica_images).unwrap().abs().unwrap().max_all().unwrap());
    assert!(distance < 1e-3, "decoded images differ by {distance}");
    // Independent components are farther from a Gaussian than principal ones.
    let kurtosis = |codes: &Tensor| {
        let fourth = codes.sqr().unwrap().sqr().unwrap().mean(0).unwrap().to_vec1::<f32>().unwrap();
        fourth.iter().map(|k| (k - 3.0).abs()).sum::<f32>()
    };
    let [principal, independent] = [&pca_codes, &ica_codes].map(kurtosis);
    assert!(independent > 1.2 * principal, "{independent}, {principal} of the principal ones");
}

#[test]
fn two_minibatches_are_refused() {
    let images = support::factor_vae::batch(2, 1).images;
    let error = start(System::Vae, &options()).step(&Batch { step: 1, images, kind: 0 }, Company::ALONE).unwrap_err();
    assert!(error.to_string().contains("one minibatch"), "{error}");
}
