//! Which range of real numbers the 256 steps of an activation cover, learned from data.

use serde::{Deserialize, Serialize};

/// How a range is chosen from the values seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Calibration {
    /// From the smallest to the greatest value.
    MinMax,
    /// Without the outer 0.01 %.
    Percentile,
    /// The range whose rounding and clipping cost the least squared error.
    Mse,
}

/// A range that contains 0, so that zero padding is exact.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    /// 0 or less.
    pub low: f32,
    /// 0 or more; above `low`.
    pub high: f32,
}

impl Range {
    /// The real size of one of the 255 steps.
    pub fn scale(&self) -> f32 {
        (self.high - self.low) / 255.0
    }

    /// The integer, -128..=127, that stands for 0.
    pub fn zero_point(&self) -> i8 {
        // A float cast saturates.
        (-128.0 - self.low / self.scale()).round() as i8
    }

    /// The integer that stands for the value nearest to `value`.
    pub fn integer(&self, value: f32) -> i8 {
        ((value / self.scale()).round() + f32::from(self.zero_point())) as i8
    }

    /// What an integer stands for.
    pub fn real(&self, integer: i8) -> f32 {
        let zero = f32::from(self.zero_point());
        f32::from(integer).mul_add(self.scale(), -zero * self.scale())
    }

    /// The nearest representable value.
    pub fn round(&self, value: f32) -> f32 {
        self.real(self.integer(value))
    }
}

/// Counts values in equal bins over the range that they were found to span.
#[derive(Debug, Clone)]
pub struct Histogram {
    low: f32,
    width: f32,
    counts: Vec<u64>,
}

const BINS: usize = 4096;

impl Histogram {
    /// An empty histogram over `low..=high`, widened to contain 0.
    pub fn new(low: f32, high: f32) -> Self {
        let (low, high) = (low.min(0.0), high.max(0.0));
        // A layer that is all zeros still needs a scale.
        let span = if high > low { high - low } else { 1.0 };
        Self { low, width: span / BINS as f32, counts: vec![0; BINS] }
    }

    /// Counts `values`, which lie in the span.
    pub fn add(&mut self, values: &[f32]) {
        for value in values {
            let bin = ((value - self.low) / self.width) as usize;
            self.counts[bin.min(BINS - 1)] += 1;
        }
    }

    /// The range that `calibration` chooses.
    pub fn range(&self, calibration: Calibration) -> Range {
        let full = Range { low: self.low, high: self.low + self.width * BINS as f32 };
        match calibration {
            Calibration::MinMax => full,
            Calibration::Percentile => {
                let outside = self.counts.iter().sum::<u64>() / 10_000;
                let cut = |counts: &mut dyn Iterator<Item = &u64>| {
                    let mut sum = 0;
                    counts
                        .take_while(|&&count| {
                            sum += count;
                            sum <= outside
                        })
                        .count() as f32
                        * self.width
                };
                // Half a percent of the span at least stays on each side of 0 that has values at all.
                let low = (full.low + cut(&mut self.counts.iter())).min(0.005 * full.low);
                let high = (full.high - cut(&mut self.counts.iter().rev())).max(0.005 * full.high);
                Range { low, high }
            }
            Calibration::Mse => {
                let candidates = (20..=100).map(|percent| {
                    let share = percent as f32 / 100.0;
                    Range { low: full.low * share, high: full.high * share }
                });
                candidates.min_by(|a, b| self.squared_error(*a).total_cmp(&self.squared_error(*b))).unwrap_or(full)
            }
        }
    }

    /// The middle of each bin that has values, and how many.
    pub fn bins(&self) -> impl Iterator<Item = (f32, u64)> {
        self.counts.iter().enumerate().filter(|(_, count)| **count > 0).map(|(bin, &count)| (self.middle(bin), count))
    }

    /// The value in the middle of a bin.
    fn middle(&self, bin: usize) -> f32 {
        self.low + (bin as f32 + 0.5) * self.width
    }

    /// Expected squared error of rounding to `range`: step²/12 inside, the distance to the border outside.
    fn squared_error(&self, range: Range) -> f64 {
        let rounding = f64::from(range.scale()).powi(2) / 12.0;
        let error = |(bin, &count): (usize, &u64)| {
            let value = self.middle(bin);
            let outside = f64::from((value - range.high).max(range.low - value).max(0.0));
            count as f64 * if outside > 0.0 { outside * outside } else { rounding }
        };
        self.counts.iter().enumerate().map(error).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: &[f32]) -> Histogram {
        let (low, high) = values.iter().fold((0.0_f32, 0.0_f32), |(l, h), &v| (l.min(v), h.max(v)));
        let mut histogram = Histogram::new(low, high);
        histogram.add(values);
        histogram
    }

    #[test]
    fn min_max_covers_everything_and_zero_is_exact() {
        let range = histogram(&[-1.0, 0.5, 3.0]).range(Calibration::MinMax);
        assert!((range.low + 1.0).abs() < 1e-5 && (range.high - 3.0).abs() < 1e-5);
        assert_eq!(range.round(0.0), 0.0);
        for value in [-1.0, -0.3, 0.7, 2.9] {
            assert!((range.round(value) - value).abs() <= 0.51 * range.scale(), "{value}");
        }
        assert_eq!(histogram(&[0.0, 2.0]).range(Calibration::MinMax).zero_point(), -128);
    }

    #[test]
    fn an_outlier_is_clipped_by_percentile_and_mse_but_not_by_min_max() {
        let mut values: Vec<f32> = (0..100_000).map(|i| i as f32 / 100_000.0).collect();
        values.push(20.0);
        let histogram = histogram(&values);
        assert!((histogram.range(Calibration::MinMax).high - 20.0).abs() < 1e-3);
        assert!(histogram.range(Calibration::Percentile).high < 1.1);
        assert!(histogram.range(Calibration::Mse).high < 20.0);
    }

    #[test]
    fn a_layer_of_zeros_has_a_scale() {
        assert!(histogram(&[0.0; 10]).range(Calibration::Mse).scale() > 0.0);
        assert!(histogram(&[0.0; 10]).range(Calibration::Percentile).scale() > 0.0);
    }
}
