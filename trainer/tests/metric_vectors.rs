//! The metrics against values that `scripts/metric_vectors.py` computed with numpy, scipy and scikit-learn.

use serde::Deserialize;
use unbraid_trainer::metrics::{
    covariance::{covariance, normalized_wasserstein_correlation, total_correlation, wasserstein_correlation},
    irs::Irs,
    labeled::Labeled,
    mig::Mig,
    pairwise::Pairwise,
    udr::{Latents, Similarity, agreements, udr},
};

#[derive(Deserialize)]
struct Vectors {
    sizes: Vec<usize>,
    /// `(n, factors)`.
    factors: Vec<Vec<usize>>,
    /// `(models, n, latents)`.
    codes: Vec<Vec<Vec<f32>>>,
    /// `(models)`.
    expected: Vec<Expected>,
    udr_lasso: Udr,
    udr_spearman: Udr,
}

#[derive(Deserialize)]
struct Expected {
    mig: ExpectedMig,
    irs: ExpectedIrs,
    gaussian_tc: f64,
    wasserstein: f64,
    wasserstein_normalized: f64,
    pairwise: f64,
}

#[derive(Deserialize)]
struct ExpectedMig {
    score: f64,
    mutual_information: Vec<Vec<f64>>,
}

#[derive(Deserialize)]
struct ExpectedIrs {
    score: f64,
    deviations: Vec<f64>,
}

#[derive(Deserialize)]
struct Udr {
    agreements: Vec<Vec<f64>>,
    scores: Vec<f64>,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("vectors/metrics.json")).unwrap()
}

fn labeled(vectors: &Vectors, model: usize) -> Labeled {
    Labeled {
        latents: vectors.codes[model][0].len(),
        sizes: vectors.sizes.clone(),
        codes: vectors.codes[model].concat(),
        values: vectors.factors.concat(),
    }
}

fn assert_close<'a>(found: impl IntoIterator<Item = &'a f64>, expected: impl IntoIterator<Item = &'a f64>, bound: f64) {
    let (found, expected): (Vec<_>, Vec<_>) = (found.into_iter().collect(), expected.into_iter().collect());
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.iter().zip(&expected) {
        assert!((**a - **b).abs() <= bound, "found {found:?}, expected {expected:?}");
    }
}

#[test]
fn scores_of_single_models() {
    let vectors = vectors();
    for (model, expected) in vectors.expected.iter().enumerate() {
        let points = labeled(&vectors, model);
        let mig = Mig::measure(&points);
        assert_close(mig.mutual_information.iter().flatten(), expected.mig.mutual_information.iter().flatten(), 1e-12);
        assert_close([&mig.score], [&expected.mig.score], 1e-12);

        let irs = Irs::measure(&points);
        assert_close(&irs.deviations, &expected.irs.deviations, 1e-12);
        assert_close([&irs.score], [&expected.irs.score], 1e-12);

        let cov = covariance(&points, &vec![1; points.len()]);
        assert_close([&total_correlation(&cov)], [&expected.gaussian_tc], 1e-10);
        assert_close([&wasserstein_correlation(&cov)], [&expected.wasserstein], 1e-10);
        assert_close([&normalized_wasserstein_correlation(&cov)], [&expected.wasserstein_normalized], 1e-10);
        assert_close([&Pairwise::measure(&points).score], [&expected.pairwise], 1e-12);
    }
}

#[test]
fn scores_of_several_models() {
    let vectors = vectors();
    let columns = |model: usize| -> Latents {
        let points = labeled(&vectors, model);
        (0..points.latents).map(|latent| points.latent(latent).map(f64::from).collect()).collect()
    };
    let models: Vec<Latents> = (0..vectors.codes.len()).map(columns).collect();
    for (similarity, expected) in
        [(Similarity::Lasso, &vectors.udr_lasso), (Similarity::Spearman, &vectors.udr_spearman)]
    {
        let found = agreements(&models, similarity);
        assert_close(found.iter().flatten(), expected.agreements.iter().flatten(), 1e-6);
        let others = |model: usize| (0..models.len()).filter(|&other| other != model).collect::<Vec<_>>();
        let scores: Vec<f64> = (0..models.len()).map(|model| udr(&found, model, &others(model))).collect();
        assert_close(&scores, &expected.scores, 1e-6);
    }
}

#[test]
fn a_resample_is_scored_as_if_it_were_written_out() {
    let vectors = vectors();
    let points = labeled(&vectors, 0);
    // Every third image twice, the next one not at all; the first and last stay, and with them, mostly, the bins.
    let rows: Vec<usize> = (0..points.len()).map(|i| if i % 3 == 1 { i - 1 } else { i }).collect();
    let mut counts = vec![0; points.len()];
    rows.iter().for_each(|&row| counts[row] += 1);
    let written = Labeled {
        codes: rows.iter().flat_map(|&row| vectors.codes[0][row].clone()).collect(),
        values: rows.iter().flat_map(|&row| vectors.factors[row].clone()).collect(),
        ..points.clone()
    };
    assert_close([&Irs::measure(&points).resampled(&rows)], [&Irs::measure(&written).score], 1e-12);
    let cov = |points: &Labeled, counts: &[u32]| total_correlation(&covariance(points, counts));
    assert_close([&cov(&points, &counts)], [&cov(&written, &vec![1; points.len()])], 1e-10);
}
