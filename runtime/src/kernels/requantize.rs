//! From accumulators to outputs: the only rounding of the format.

#[cfg(patches)]
use super::product::Block;
#[cfg(not(kernel = "compact"))]
use crate::format::FLAG_NEGATIVE_MULTIPLIERS;
use crate::format::output;
use crate::layer::Layer;
use crate::plan::WORD_BYTES;

/// Requantized values saturate here, far outside what any output can be.
const LARGEST: i64 = 1 << 30;

/// acc·m / 2^shift to the nearest integer, halves up; `shift` is 1..=62.
#[inline]
pub(crate) fn requantize(accumulator: i32, multiplier: i32, shift: u8) -> i32 {
    match shift.checked_sub(33) {
        // With acc·m = 2^32·high + low, 0 ≤ low < 2^32, and t = shift - 32:
        //
        //     (acc·m + 2^(shift-1)) / 2^shift = (high + 2^(t-1) + low / 2^32) / 2^t
        //
        // Here t ≥ 1, so high + 2^(t-1) is whole, and rounding down may drop the fraction behind it. |high| ≤ 2^30.
        Some(rest) if cfg!(not(kernel = "compact")) => {
            let high = ((i64::from(accumulator) * i64::from(multiplier)) >> 32) as i32;
            (high + (1 << rest)) >> (rest + 1)
        }
        _ => requantize_wide(accumulator, multiplier, shift),
    }
}

/// [`requantize`] with a shift of at most 32: a rare one, since it takes sums of products for small numbers.
#[inline(never)]
fn requantize_wide(accumulator: i32, multiplier: i32, shift: u8) -> i32 {
    let product = i64::from(accumulator) * i64::from(multiplier);
    // (acc·m + 2^(shift-1)) / 2^shift = (acc·m / 2^(shift-1) + 1) / 2, and rounding down twice is rounding down once.
    (((product >> (shift - 1)) + 1) >> 1).clamp(-LARGEST, LARGEST) as i32
}

/// Bytes of an output element.
#[cfg(not(kernel = "compact"))]
pub(super) fn element_bytes(layer: &Layer<'_>) -> usize {
    if layer.record.output == output::CODE { 2 } else { 1 }
}

/// The words of channels (or features) `first..`.
#[inline]
fn words(bytes: &[u8], first: usize) -> &[[u8; WORD_BYTES]] {
    bytes.as_chunks().0.get(first..).unwrap_or(&[])
}

/// Requantizes with the multiplier for the accumulator's sign.
#[cfg(not(kernel = "compact"))]
#[inline]
fn scale(accumulator: i32, positive: &[u8; WORD_BYTES], negative: &[u8; WORD_BYTES], shift: u8) -> i32 {
    requantize(accumulator, i32::from_le_bytes(if accumulator < 0 { *negative } else { *positive }), shift)
}

/// What makes pixels of a channel's accumulators.
#[cfg(patches)]
#[inline]
pub(super) fn pixels(layer: &Layer<'_>, channel: usize) -> impl Fn(i32) -> u8 {
    let [positive, negative] = [layer.multipliers, layer.negative_multipliers]
        .map(|multipliers| words(multipliers, channel).first().map_or(0, |multiplier| i32::from_le_bytes(*multiplier)));
    let (shift, table, half) = (layer.record.shift, layer.table, half_table(layer));
    move |accumulator| {
        let multiplier = if accumulator < 0 { negative } else { positive };
        look_up(table, requantize(accumulator, multiplier, shift) + half)
    }
}

/// The table index of a requantized 0.
fn half_table(layer: &Layer<'_>) -> i32 {
    (layer.record.table_length() / 2) as i32
}

/// An entry of the table, the nearest one outside.
#[inline]
fn look_up(table: &[u8], index: i32) -> u8 {
    table.get(index.max(0) as usize).or(table.last()).copied().unwrap_or(0)
}

/// Writes the outputs of a column's sums, which belong to channels (or features) `first..`.
#[cfg(patches)]
pub(super) fn write(layer: &Layer<'_>, block: &Block<'_>, column: usize, first: usize, output: &mut [u8]) {
    write_sums(layer, block.sums(column), first, output);
}

/// Writes output `index` of a row, whose accumulator belongs to channel (or feature) `channel`.
#[cfg(kernel = "compact")]
pub(super) fn write_one(layer: &Layer<'_>, accumulator: i32, channel: usize, index: usize, output: &mut [u8]) {
    let record = &layer.record;
    let multipliers = if accumulator < 0 { layer.negative_multipliers } else { layer.multipliers };
    let multiplier = words(multipliers, channel).first().map_or(0, |word| i32::from_le_bytes(*word));
    let value = requantize(accumulator, multiplier, record.shift);
    if record.output == output::CODE {
        if let Some(to) = output.as_chunks_mut().0.get_mut(index) {
            *to = (value.clamp(i16::MIN.into(), i16::MAX.into()) as i16).to_le_bytes();
        }
    } else if let Some(to) = output.get_mut(index) {
        *to = if record.output == output::PIXELS {
            look_up(layer.table, value + half_table(layer))
        } else {
            let value = value + i32::from(record.output_zero_point);
            value.max(record.minimum.into()).min(record.maximum.into()) as u8
        };
    }
}

/// Writes the outputs of sums that belong to channels (or features) `first..`.
#[cfg(not(kernel = "compact"))]
pub(super) fn write_sums(layer: &Layer<'_>, sums: impl Iterator<Item = i32> + Clone, first: usize, output: &mut [u8]) {
    let record = &layer.record;
    let leaky = record.flags & FLAG_NEGATIVE_MULTIPLIERS != 0;
    let multipliers = words(layer.multipliers, first).iter().zip(words(layer.negative_multipliers, first));
    let values = sums
        .clone()
        .zip(multipliers)
        .map(|(accumulator, (positive, negative))| scale(accumulator, positive, negative, record.shift));
    match record.output {
        output::CODE => {
            for (to, value) in output.as_chunks_mut().0.iter_mut().zip(values) {
                *to = (value.clamp(i16::MIN.into(), i16::MAX.into()) as i16).to_le_bytes();
            }
        }
        output::PIXELS => {
            let half = half_table(layer);
            for (to, value) in output.iter_mut().zip(values) {
                *to = look_up(layer.table, value + half);
            }
        }
        _ if !leaky && (record.minimum, record.maximum) == (i8::MIN, i8::MAX) => {
            let zero_point = i32::from(record.output_zero_point);
            let values = sums.zip(words(layer.multipliers, first));
            for (to, (accumulator, multiplier)) in output.iter_mut().zip(values) {
                let value = requantize(accumulator, i32::from_le_bytes(*multiplier), record.shift);
                *to = (value + zero_point).clamp(i8::MIN.into(), i8::MAX.into()) as u8;
            }
        }
        _ => {
            let (zero_point, minimum, maximum) =
                (i32::from(record.output_zero_point), i32::from(record.minimum), i32::from(record.maximum));
            for (to, value) in output.iter_mut().zip(values) {
                *to = (value + zero_point).max(minimum).min(maximum) as u8;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// floor(acc·m / 2^shift + 1/2) in rational arithmetic.
    fn exact(accumulator: i32, multiplier: i32, shift: u8) -> i32 {
        let twice = 2 * i128::from(accumulator) * i128::from(multiplier);
        let unit = 1i128 << shift;
        let largest = i128::from(LARGEST);
        i32::try_from((twice + unit).div_euclid(2 * unit).clamp(-largest, largest)).unwrap()
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
