//! Two models on the same images: the difference of each score, and whether it is more than chance.
//!
//! Both measurements draw the same images and the same resamples, so that
//!
//! ```text
//! d = s(A) - s(B);      interval: d + quantiles of (d*_r - mean of all d*),  d*_r = s*_r(A) - s*_r(B)
//! ```
//!
//! What moves both scores alike, an easy draw of images say, cancels: the interval of a difference is narrower than the two
//! scores' intervals suggest. One that has 0 inside says that other images could have turned the order around.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Evaluation, Interval, Measurement, Score};
use crate::{Error, Result};

/// Two evaluations side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// Of model A.
    pub first: Evaluation,
    /// Of model B.
    pub second: Evaluation,
    /// One for each score.
    pub differences: Vec<Difference>,
}

/// How far apart two models' scores are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// As in [`Score`].
    pub metric: String,
    /// As in [`Score`].
    pub protocol: String,
    /// A's score.
    pub first: f64,
    /// B's score.
    pub second: f64,
    /// A's less B's.
    pub difference: f64,
    /// 95 % bootstrap interval of the difference, in pairs; none where the score has none.
    pub interval: Option<Interval>,
}

/// Compares two measurements under the same options.
///
/// # Errors
/// They have other data, other seeds or other scores.
pub fn compare(first: Measurement, second: Measurement) -> Result<Comparison> {
    let alike = |measurement: &Measurement| {
        let Evaluation { dataset, scores, .. } = &measurement.evaluation;
        let drawn = scores.iter().map(|s| (s.metric.clone(), s.protocol.clone(), s.seed, s.samples.clone()));
        let resamples = measurement.replicates.iter().map(Vec::len).max();
        (dataset.clone(), resamples, drawn.collect::<Vec<_>>())
    };
    if alike(&first) != alike(&second) {
        return Err(Error::Unsupported(
            "the two evaluations differ in data, seed, metrics or counts: expected the same for both".into(),
        ));
    }
    let scores = first.evaluation.scores.iter().zip(&second.evaluation.scores);
    let replicates = first.replicates.iter().zip(&second.replicates);
    let replicates = replicates.map(|(a, b)| a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<f64>>());
    let differences = scores.zip(replicates).map(|((a, b), replicates)| difference(a, b, &replicates)).collect();
    Ok(Comparison { first: first.evaluation, second: second.evaluation, differences })
}

fn difference(first: &Score, second: &Score, replicates: &[f64]) -> Difference {
    let difference = first.value - second.value;
    Difference {
        metric: first.metric.clone(),
        protocol: first.protocol.clone(),
        first: first.value,
        second: second.value,
        difference,
        interval: Interval::around(difference, replicates),
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = [&self.first, &self.second].map(|evaluation| &evaluation.statistics);
        writeln!(f, "{:<34}  {:<10}  {:>9}  {:>9}  A - B and its 95 % interval", "score", "protocol", "A", "B")?;
        for Difference { metric, protocol, first, second, difference, interval } in &self.differences {
            let interval = interval.map_or_else(String::new, |interval| interval.to_string());
            writeln!(f, "{metric:<34}  {protocol:<10}  {first:>9.3}  {second:>9.3}  {difference:+.3} {interval}")?;
        }
        let mut row =
            |what: &str, a: f64, b: f64| writeln!(f, "{what:<34}  {:<10}  {a:>9.3}  {b:>9.3}  {:+.3}", "", a - b);
        if let (Some(a), Some(b)) = (first.reconstruction, second.reconstruction) {
            row("reconstruction, nats", a, b)?;
        }
        row("KL, nats", first.total_kl(), second.total_kl())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{
        Metric, Options,
        fake::{Coder, Grid},
        measure,
    };

    fn measured(model: &Coder, seed: u64) -> Measurement {
        let metrics = vec![Metric::Mig, Metric::GaussianTc];
        let options = Options { seed, samples: 500, pairs: 10, metrics, resamples: 200, ..Options::default() };
        measure(model, &Grid::new(), &options, &|_, _| {}).unwrap()
    }

    /// The ground truth with a little of each factor in the next latent.
    fn leaky() -> Coder {
        Coder::new(4, |pixels, z| {
            (0..4).for_each(|i| z[i] = f32::from(pixels[i]) + 0.3 * f32::from(pixels[(i + 1) % 4]));
        })
    }

    #[test]
    fn a_model_does_not_differ_from_itself() {
        let comparison = compare(measured(&leaky(), 1), measured(&leaky(), 1)).unwrap();
        for difference in &comparison.differences {
            assert_eq!((difference.difference, difference.interval), (0.0, Some(Interval { low: 0.0, high: 0.0 })));
        }
    }

    #[test]
    fn differences_have_their_sign_and_narrower_intervals() {
        let (truth, leaky) = (measured(&Coder::ground_truth(), 1), measured(&leaky(), 1));
        let width = |interval: Interval| interval.high - interval.low;
        let alone: Vec<f64> = truth.evaluation.scores.iter().map(|score| width(score.interval.unwrap())).collect();
        let comparison = compare(truth, leaky).unwrap();
        let [mig, tc] = &comparison.differences[..] else { panic!("{comparison}") };
        assert_eq!(("mig", "gaussian-tc"), (&*mig.metric, &*tc.metric));
        assert!(mig.interval.unwrap().low > 0.0 && tc.interval.unwrap().high < 0.0, "{comparison}");
        assert!((mig.difference - (mig.first - mig.second)).abs() < 1e-15);
        assert!(alone.iter().all(|&width| width > 0.0));
        assert!(comparison.to_string().lines().any(|line| line.starts_with("mig ") && line.contains("  +0.")));
    }

    #[test]
    fn other_draws_are_not_compared() {
        let error = compare(measured(&leaky(), 1), measured(&leaky(), 2)).unwrap_err().to_string();
        assert!(error.contains("seed"), "{error}");
    }
}
