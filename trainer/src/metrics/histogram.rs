//! How a latent's posterior means are spread over the data.

/// Bins of a histogram.
const BINS: usize = 48;
/// What a histogram shows at least: three standard deviations of the prior each way.
const LEAST: f64 = 3.0;

/// Shares of values in bins of equal width, as a density.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// The lower edge of the first bin.
    pub low: f64,
    /// The bins' width.
    pub width: f64,
    /// The share of values in each bin, over its width.
    pub density: Vec<f64>,
}

impl Histogram {
    /// The histogram of finite `values` from the least, or -3, to the greatest, or 3.
    pub fn new(values: impl Iterator<Item = f64> + Clone) -> Self {
        let (low, high) = values.clone().fold((-LEAST, LEAST), |(low, high), v| (low.min(v), high.max(v)));
        let width = (high - low) / BINS as f64;
        let (mut counts, mut n) = (vec![0u32; BINS], 0.0);
        for value in values {
            // The last bin has both its edges.
            counts[(((value - low) / width) as usize).min(BINS - 1)] += 1;
            n += 1.0;
        }
        Self {
            low,
            width,
            density: counts.into_iter().map(|count| f64::from(count) / (f64::max(n, 1.0) * width)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn densities_count_the_values_and_sum_to_one() {
        let histogram = Histogram::new([-3.0, 0.01, 0.1, 9.0].into_iter());
        assert_eq!((histogram.low, histogram.width), (-3.0, 0.25));
        let counted = |bin: usize| histogram.density[bin] * histogram.width * 4.0;
        assert_eq!([counted(0), counted(11), counted(12), counted(47)], [1.0, 0.0, 2.0, 1.0]);
        assert!((histogram.density.iter().sum::<f64>() * histogram.width - 1.0).abs() < 1e-12);
        assert!(Histogram::new(std::iter::empty()).density.iter().all(|&density| density == 0.0));
    }
}
