//! From accumulators to outputs: the only rounding of the format.

use crate::format::{output, wide};
use crate::layer::Layer;

/// acc·m / 2^shift to the nearest integer, halves up. `shift` is 1..=62.
#[inline]
pub(crate) fn requantize(accumulator: i32, multiplier: i32, shift: u8) -> i64 {
    (i64::from(accumulator) * i64::from(multiplier) + (1 << (shift - 1))) >> shift
}

/// Bytes of an output element.
pub(super) fn element_bytes(layer: &Layer<'_>) -> usize {
    if layer.record.output == output::CODE { 2 } else { 1 }
}

/// Writes the outputs of accumulators, int32 each, that belong to channels (or features) `first..`.
#[inline]
pub(super) fn write(layer: &Layer<'_>, accumulators: &[u8], first: usize, output: &mut [u8]) {
    let record = &layer.record;
    let positive = layer.multipliers.as_chunks().0.iter().skip(first);
    let negative = layer.negative_multipliers.as_chunks().0.iter().skip(first);
    let scaled = accumulators.as_chunks().0.iter().zip(positive).zip(negative).map(|((acc, positive), negative)| {
        let acc = i32::from_le_bytes(*acc);
        let multiplier = i32::from_le_bytes(if acc < 0 { *negative } else { *positive });
        requantize(acc, multiplier, record.shift)
    });
    match record.output {
        output::CODE => {
            for (to, value) in output.as_chunks_mut().0.iter_mut().zip(scaled) {
                *to = clamp_i16(value).to_le_bytes();
            }
        }
        output::PIXELS => {
            let (half, last) = (wide(record.table_length / 2).cast_signed(), layer.table.last());
            for (to, value) in output.iter_mut().zip(scaled) {
                let index = usize::try_from((value + half).max(0)).unwrap_or(usize::MAX);
                *to = layer.table.get(index).or(last).copied().unwrap_or(0);
            }
        }
        _ => {
            let (zero_point, minimum, maximum) =
                (i64::from(record.output_zero_point), i64::from(record.minimum), i64::from(record.maximum));
            for (to, value) in output.iter_mut().zip(scaled) {
                *to = (value + zero_point).max(minimum).min(maximum).to_le_bytes()[0];
            }
        }
    }
}

/// Saturates to int16.
fn clamp_i16(value: i64) -> i16 {
    i16::try_from(value).unwrap_or(if value < 0 { i16::MIN } else { i16::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// floor(acc·m / 2^shift + 1/2) in rational arithmetic.
    fn exact(accumulator: i32, multiplier: i32, shift: u8) -> i64 {
        let twice = 2 * i128::from(accumulator) * i128::from(multiplier);
        let unit = 1i128 << shift;
        i64::try_from((twice + unit).div_euclid(2 * unit)).unwrap()
    }

    #[test]
    fn rounds_to_nearest_halves_up_at_every_edge() {
        // Zero, the ends, and the neighborhood of every power of two.
        let mut edges: Vec<i32> = (0..31).flat_map(|bit| [(1 << bit) - 1, 1 << bit, (1 << bit) + 1]).collect();
        edges.extend([i32::MAX, i32::MAX - 1, 0x5555_5555, 1_234_567_891]);
        edges.extend(edges.clone().iter().map(|edge| -edge));
        edges.extend([i32::MIN, i32::MIN + 1]);
        for shift in 1..=crate::format::MAX_SHIFT {
            for accumulator in &edges {
                for multiplier in &edges {
                    let found = requantize(*accumulator, *multiplier, shift);
                    assert_eq!(found, exact(*accumulator, *multiplier, shift), "{accumulator} {multiplier} {shift}");
                }
            }
        }
    }

    #[test]
    fn halves_go_up() {
        assert_eq!([-3, -1, 1, 3].map(|accumulator| requantize(accumulator, 1, 1)), [-1, 0, 1, 2]);
    }
}
