//! Learners, and the metrics that are defined by them, against scikit-learn: `scripts/learner_vectors.py` wrote
//! `vectors/learners.json`.

use serde::Deserialize;
use unbraid_trainer::metrics::{
    dci::Dci,
    explicitness::Explicitness,
    labeled::Labeled,
    learners::{Columns, boosting::Boosting, logistic::Logistic, svm::Svm},
    modularity::Modularity,
    sap::Sap,
};

#[derive(Deserialize)]
struct Vectors {
    sizes: Vec<usize>,
    train_codes: Vec<Vec<f64>>,
    train_values: Vec<Vec<usize>>,
    test_codes: Vec<Vec<f64>>,
    test_values: Vec<Vec<usize>>,
    /// Scores of the first test points, `(factors, n, scores)`.
    logistic: Vec<Vec<Vec<f64>>>,
    /// The same from one latent, `(latents, factors, n, scores)`.
    svm: Vec<Vec<Vec<Vec<f64>>>>,
    /// Two latents of four values, for `boosting` and `dci`.
    coarse_train_codes: Vec<Vec<f64>>,
    coarse_test_codes: Vec<Vec<f64>>,
    /// Scores of the first test points, `(factors, n, scores)`.
    boosting: Vec<Vec<Vec<f64>>>,
    sap: SapValues,
    dci: DciValues,
    explicitness: ExplicitnessValues,
    modularity: ModularityValues,
}

#[derive(Deserialize)]
struct SapValues {
    accuracy: Vec<Vec<f64>>,
    score: f64,
}

#[derive(Deserialize)]
struct DciValues {
    disentanglement: f64,
    completeness: f64,
    informativeness: f64,
    importances: Vec<Vec<f64>>,
}

#[derive(Deserialize)]
struct ExplicitnessValues {
    factors: Vec<f64>,
    score: f64,
}

#[derive(Deserialize)]
struct ModularityValues {
    mutual_information: Vec<Vec<f64>>,
    score: f64,
}

impl Vectors {
    fn read() -> Self {
        serde_json::from_str(include_str!("vectors/learners.json")).unwrap()
    }

    fn labeled(&self, codes: &[Vec<f64>], values: &[Vec<usize>]) -> Labeled {
        Labeled {
            latents: codes[0].len(),
            sizes: self.sizes.clone(),
            codes: codes.iter().flatten().map(|&z| z as f32).collect(),
            values: values.concat(),
        }
    }

    fn train(&self) -> Labeled {
        self.labeled(&self.train_codes, &self.train_values)
    }

    fn test(&self) -> Labeled {
        self.labeled(&self.test_codes, &self.test_values)
    }

    fn coarse(&self) -> (Labeled, Labeled) {
        let train = self.labeled(&self.coarse_train_codes, &self.train_values);
        (train, self.labeled(&self.coarse_test_codes, &self.test_values))
    }
}

fn assert_close<'a>(
    found: impl IntoIterator<Item = &'a f64>,
    expected: impl IntoIterator<Item = &'a f64>,
    tolerance: f64,
) {
    let (found, expected): (Vec<_>, Vec<_>) = (found.into_iter().collect(), expected.into_iter().collect());
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert!((*found - *expected).abs() <= tolerance, "{found} is not {expected} to {tolerance}");
    }
}

/// Probabilities do not change when all scores of a row move together.
fn centered(scores: Vec<f64>) -> Vec<f64> {
    let mean = if scores.len() > 1 { scores.iter().sum::<f64>() / scores.len() as f64 } else { 0.0 };
    scores.iter().map(|score| score - mean).collect()
}

#[test]
fn logistic_regression_finds_the_same_scores() {
    let vectors = Vectors::read();
    let train = vectors.train();
    for (factor, expected) in vectors.logistic.iter().enumerate() {
        let labels: Vec<usize> = train.factor(factor).collect();
        let classifier = Logistic::fit(&vectors.train_codes.concat(), train.latents, &labels);
        for (row, expected) in vectors.test_codes.iter().zip(expected) {
            assert_close(&centered(classifier.scores(row)), expected, 1e-6);
        }
    }
}

#[test]
fn support_vector_machines_find_the_same_scores() {
    let vectors = Vectors::read();
    let (train, test) = (vectors.train(), vectors.test());
    for (latent, factors) in vectors.svm.iter().enumerate() {
        let codes: Vec<f32> = train.latent(latent).collect();
        for (factor, expected) in factors.iter().enumerate() {
            let labels: Vec<usize> = train.factor(factor).collect();
            let svm = Svm::fit(&codes, &labels, 0.01);
            for (x, expected) in test.latent(latent).zip(expected) {
                assert_close(&svm.scores(x), expected, 1e-6);
            }
        }
    }
}

#[test]
fn boosted_trees_find_the_same_scores() {
    let vectors = Vectors::read();
    let (train, test) = vectors.coarse();
    let columns = Columns::new(&train);
    for (factor, expected) in vectors.boosting.iter().enumerate() {
        let trees = Boosting::fit(&columns, &train.factor(factor).collect::<Vec<_>>());
        for (row, expected) in test.codes.chunks_exact(2).zip(expected) {
            assert_close(&centered(trees.scores(row)), expected, 1e-6);
        }
    }
}

#[test]
fn sap_is_that_of_linear_svc() {
    let vectors = Vectors::read();
    let sap = Sap::measure(&vectors.train(), &vectors.test());
    assert_close(sap.accuracy.iter().flatten(), vectors.sap.accuracy.iter().flatten(), 1e-9);
    assert_close([&sap.score], [&vectors.sap.score], 1e-9);
}

#[test]
fn dci_is_that_of_gradient_boosting_classifier() {
    let vectors = Vectors::read();
    let (train, test) = vectors.coarse();
    let dci = Dci::measure(&train, &test);
    assert_close(dci.importances.iter().flatten(), vectors.dci.importances.iter().flatten(), 1e-6);
    assert_close([&dci.disentanglement], [&vectors.dci.disentanglement], 1e-6);
    assert_close([&dci.completeness], [&vectors.dci.completeness], 1e-6);
    assert_close([&dci.informativeness], [&vectors.dci.informativeness], 1e-6);
}

#[test]
fn explicitness_is_the_area_of_logistic_regressions() {
    let vectors = Vectors::read();
    let explicitness = Explicitness::measure(&vectors.train(), &vectors.test());
    assert_close(&explicitness.factors, &vectors.explicitness.factors, 1e-6);
    assert_close([&explicitness.score], [&vectors.explicitness.score], 1e-6);
}

#[test]
fn modularity_has_the_same_mutual_information() {
    let vectors = Vectors::read();
    let modularity = Modularity::measure(&vectors.train());
    let expected = vectors.modularity.mutual_information.iter().flatten();
    assert_close(modularity.mutual_information.iter().flatten(), expected, 1e-6);
    assert_close([&modularity.score], [&vectors.modularity.score], 1e-6);
}
