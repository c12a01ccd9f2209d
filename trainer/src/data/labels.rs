//! The factor values of images that lie in files.

use std::{borrow::Cow, path::Path};

use super::{FactorInfo, grid_index, grid_values};
use crate::{Error, Result};

/// What is known of the images' factors.
#[derive(Debug)]
pub(super) enum Labels {
    /// Nothing.
    None,
    /// Every combination has one image, the last factor fastest.
    Ordered(Vec<FactorInfo>),
    /// Each image has its own list.
    Listed {
        factors: Vec<FactorInfo>,
        /// `(images, factors)`.
        values: Vec<u32>,
        /// The image with each combination in order, where every combination has one.
        grid: Option<Vec<u32>>,
    },
}

impl Labels {
    /// One column of numbers a factor, whose distinct values are the factor's in ascending order. A factor that never changes is
    /// none.
    ///
    /// # Errors
    /// A value is not a number; `path` is the file to name.
    pub(super) fn of_numbers(columns: Vec<(String, Vec<f64>)>, path: &Path) -> Result<Self> {
        for (name, column) in &columns {
            if let Some(row) = column.iter().position(|value| value.is_nan()) {
                return Err(Error::malformed(path, &format!("factor {name} of image {row}"), "NaN", "a number"));
            }
        }
        Ok(Self::of_columns(columns))
    }

    /// One column of words a factor; numbers if all of them are.
    pub(super) fn of_words(columns: Vec<(String, Vec<String>)>) -> Self {
        let number = |word: &String| word.parse::<f64>().ok().filter(|value| value.is_finite());
        let places = |column: &[String]| -> Vec<f64> {
            let mut words: Vec<_> = column.iter().collect();
            words.sort_unstable();
            words.dedup();
            column.iter().map(|word| words.partition_point(|other| *other < word) as f64).collect()
        };
        let numbers = columns.into_iter().map(|(name, column)| {
            let numbers = column.iter().map(number).collect::<Option<Vec<_>>>();
            (name, numbers.unwrap_or_else(|| places(&column)))
        });
        Self::of_columns(numbers.collect())
    }

    fn of_columns(columns: Vec<(String, Vec<f64>)>) -> Self {
        let images = columns.first().map_or(0, |(_, column)| column.len());
        let (mut factors, mut places) = (Vec::new(), Vec::new());
        for (name, mut column) in columns {
            // -0 is 0.
            column.iter_mut().for_each(|value| *value += 0.0);
            let mut distinct = column.clone();
            distinct.sort_unstable_by(f64::total_cmp);
            distinct.dedup();
            if distinct.len() > 1 {
                let place = |value: &f64| distinct.partition_point(|other| other < value) as u32;
                places.push(column.iter().map(place).collect::<Vec<_>>());
                factors.push(FactorInfo { name: Cow::Owned(name), size: distinct.len() });
            }
        }
        if factors.is_empty() {
            return Self::None;
        }
        let values: Vec<u32> = (0..images).flat_map(|image| places.iter().map(move |column| column[image])).collect();
        let grid = grid(&factors, &values, images);
        Self::Listed { factors, values, grid }
    }

    pub(super) fn factors(&self) -> &[FactorInfo] {
        match self {
            Self::None => &[],
            Self::Ordered(factors) | Self::Listed { factors, .. } => factors,
        }
    }

    pub(super) fn values(&self, index: usize) -> Vec<usize> {
        match self {
            Self::None => Vec::new(),
            Self::Ordered(factors) => grid_values(factors, index),
            Self::Listed { factors, values, .. } => {
                let row = &values[index * factors.len()..(index + 1) * factors.len()];
                row.iter().map(|&value| value as usize).collect()
            }
        }
    }

    pub(super) fn is_grid(&self) -> bool {
        matches!(self, Self::Ordered(_) | Self::Listed { grid: Some(_), .. })
    }

    pub(super) fn index_of(&self, values: &[usize]) -> Option<usize> {
        match self {
            Self::Ordered(factors) => grid_index(factors, values),
            Self::Listed { factors, grid: Some(grid), .. } => {
                grid_index(factors, values).and_then(|place| grid.get(place)).map(|&image| image as usize)
            }
            _ => None,
        }
    }
}

/// The image with each combination of values, if there is exactly one.
fn grid(factors: &[FactorInfo], values: &[u32], images: usize) -> Option<Vec<u32>> {
    let combinations = factors.iter().try_fold(1usize, |product, factor| product.checked_mul(factor.size));
    if combinations != Some(images) {
        return None;
    }
    let mut grid = vec![u32::MAX; images];
    for (image, row) in values.chunks_exact(factors.len()).enumerate() {
        let row: Vec<usize> = row.iter().map(|&value| value as usize).collect();
        let place = grid.get_mut(grid_index(factors, &row)?)?;
        if *place != u32::MAX {
            return None;
        }
        *place = image as u32;
    }
    Some(grid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(columns: &[&[f64]]) -> Labels {
        let named = columns.iter().enumerate().map(|(i, column)| (format!("f{i}"), column.to_vec()));
        Labels::of_numbers(named.collect(), "labels".as_ref()).unwrap()
    }

    #[test]
    fn distinct_values_are_counted_in_their_order_and_constants_left_out() {
        let labels = numbers(&[&[0.5, -1.0, 0.5, 7.0], &[3.0; 4], &[-0.0, 0.0, 1.0, 0.0]]);
        assert_eq!(labels.factors(), [FactorInfo::new("f0", 3), FactorInfo::new("f2", 2)]);
        let values: Vec<_> = (0..4).map(|image| labels.values(image)).collect();
        assert_eq!(values, [[1, 0], [0, 0], [1, 1], [2, 0]]);
        assert!(!labels.is_grid() && labels.index_of(&[1, 0]).is_none());
        assert!(matches!(numbers(&[&[1.0, 1.0]]), Labels::None));
    }

    #[test]
    fn a_grid_in_any_order_is_one() {
        let labels = numbers(&[&[1.0, 0.0, 1.0, 0.0], &[0.0, 1.0, 1.0, 0.0]]);
        assert!(labels.is_grid());
        for image in 0..4 {
            assert_eq!(labels.index_of(&labels.values(image)), Some(image));
        }
        assert_eq!(labels.index_of(&[2, 0]), None);
        // As many images as combinations, one of them twice.
        assert!(!numbers(&[&[1.0, 0.0, 1.0, 1.0], &[0.0, 1.0, 1.0, 0.0]]).is_grid());
    }

    #[test]
    fn words_are_sorted_and_numbers_by_value() {
        let column = |words: &[&str]| words.iter().map(|word| word.to_string()).collect::<Vec<_>>();
        let columns =
            vec![("kind".into(), column(&["round", "flat", "round"])), ("angle".into(), column(&["10", "9", "-1e1"]))];
        let labels = Labels::of_words(columns);
        let values: Vec<_> = (0..3).map(|image| labels.values(image)).collect();
        assert_eq!(values, [[1, 2], [0, 1], [1, 0]]);
    }

    #[test]
    fn not_a_number_is_named() {
        let error = Labels::of_numbers(vec![("size".into(), vec![1.0, f64::NAN])], "l.npz".as_ref()).unwrap_err();
        assert_eq!(error.to_string(), "l.npz: factor size of image 1: found NaN, expected a number");
    }
}
