//! Sums of products, where nearly all time goes: patches of the input times rows of weights.
//!
//! A [`Block`] holds the patches of [`COLUMNS`] neighboring outputs, as much of them as fits the scratch, and a 32-bit
//! sum for each of them and each row of weights. An instruction set's kernel multiplies several rows at a time with all
//! columns, so that each byte loaded takes part in several multiply-adds. Weights stay where they are.
//!
//! A kernel is a module of four items. It decides how elements lie in the patches:
//!
//! - `ELEMENT_BYTES`: bytes of an element of a patch;
//! - `put(patches, column, at, bytes)`: writes int8 elements `at..` of a column's patch;
//! - `fill(patches, column, at, count, value)`: writes the same value to `count` elements;
//! - `accumulate(sums, patches, weights)`: adds to each sum the product of its column's patch with its row of weights,
//!   as many elements as the rows have.
//!
//! [`portable`] is the specification. All kernels give the same bits: sums are exact.

#[cfg(kernel = "dsp")]
#[expect(unsafe_code, reason = "instructions and register tiles that compilers do not find")]
mod dsp;
#[cfg_attr(not(kernel = "portable"), expect(dead_code, reason = "the specification"))]
mod portable;
#[cfg(any(test, kernel = "scalar"))]
mod scalar;
#[cfg(any(kernel = "armv6m", kernel = "armv7m"))]
#[expect(unsafe_code, reason = "register tiles that compilers do not find")]
mod wide;

#[cfg(kernel = "dsp")]
use self::dsp as kernel;
#[cfg(kernel = "portable")]
use self::portable as kernel;
#[cfg(any(kernel = "armv6m", kernel = "armv7m"))]
use self::wide as kernel;
use super::words::words_mut;
use crate::plan::{COLUMNS, WORD_BYTES};

#[cfg(kernel = "scalar")]
mod kernel {
    pub(super) use super::portable::{ELEMENT_BYTES, fill, put};
    pub(super) use super::scalar::accumulate;
}

/// Elements of a patch at a time are a multiple of these, so that kernels meet odd ends at the end of a patch only.
const MULTIPLE: usize = 16;

/// The same bytes of each row of a matrix.
#[derive(Clone, Copy)]
pub(super) struct WeightRows<'a> {
    /// int8, (rows, `stride`).
    pub(super) bytes: &'a [u8],
    pub(super) stride: usize,
    /// The first byte of a row that takes part.
    pub(super) first: usize,
    /// The number of bytes that do.
    pub(super) length: usize,
}

impl<'a> WeightRows<'a> {
    /// The bytes of each row.
    #[inline]
    fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        let bytes = self.bytes.get(self.first..).unwrap_or(&[]);
        bytes.chunks(self.stride.max(1)).filter_map(move |row| row.get(..self.length))
    }

    /// The bytes from the first row's first to the last row's last, if there are `count` rows.
    #[cfg(any(kernel = "armv6m", kernel = "armv7m", kernel = "dsp"))]
    #[inline]
    fn checked(self, count: usize) -> Option<&'a [u8]> {
        let bytes = self.bytes.get(self.first..)?;
        let needed = count.saturating_sub(1).saturating_mul(self.stride).saturating_add(self.length);
        (bytes.len() >= needed).then_some(bytes)
    }
}

/// Sums and patches in the scratch.
pub(super) struct Block<'a> {
    sums: &'a mut [[i32; COLUMNS]],
    /// At the address of a 32-bit word.
    patches: &'a mut [u8],
}

impl<'a> Block<'a> {
    /// A block of `rows` rows in scratch of `plan::block_bytes`.
    pub(super) fn new(scratch: &'a mut [u8], rows: usize) -> Self {
        let start = scratch.as_ptr().align_offset(WORD_BYTES).min(scratch.len());
        let (_, aligned) = scratch.split_at_mut(start);
        let (sums, patches) = aligned.split_at_mut((rows * COLUMNS * WORD_BYTES).min(aligned.len()));
        Block { sums: words_mut(sums).as_chunks_mut().0, patches }
    }

    /// Elements that a patch holds at a time.
    pub(super) fn capacity(&self) -> usize {
        let elements = self.patches.len() / (COLUMNS * kernel::ELEMENT_BYTES);
        if elements > MULTIPLE { elements - elements % MULTIPLE } else { elements }
    }

    /// Starts the sums of each row with its bias, int32.
    pub(super) fn start(&mut self, biases: &[u8]) {
        for (sums, bias) in self.sums.iter_mut().zip(biases.as_chunks().0) {
            *sums = [i32::from_le_bytes(*bias); COLUMNS];
        }
    }

    /// Starts all sums with 0.
    pub(super) fn clear(&mut self) {
        self.sums.as_flattened_mut().fill(0);
    }

    /// Writes int8 elements `at..` of a column's patch.
    pub(super) fn put(&mut self, column: usize, at: usize, bytes: &[u8]) {
        kernel::put(self.patches, column, at, bytes);
    }

    /// Writes the same value to `count` elements, `at..`, of a column's patch.
    pub(super) fn fill(&mut self, column: usize, at: usize, count: usize, value: i8) {
        if count > 0 {
            kernel::fill(self.patches, column, at, count, value);
        }
    }

    /// Adds the products of the patches with the rows of weights.
    pub(super) fn accumulate(&mut self, weights: WeightRows<'_>) {
        kernel::accumulate(self.sums, self.patches, weights);
    }

    /// The sums of a column, one for each row.
    #[inline]
    pub(super) fn sums(&self, column: usize) -> impl Iterator<Item = i32> + Clone {
        self.sums.iter().map(move |sums| sums[column % COLUMNS])
    }

    /// The sum of a row and column, if there is such a row.
    #[inline]
    pub(super) fn sum(&self, row: isize, column: usize) -> Option<i32> {
        let sums = usize::try_from(row).ok().and_then(|row| self.sums.get(row))?;
        Some(sums[column % COLUMNS])
    }

    /// The sums of a column, one for each row.
    #[inline]
    pub(super) fn sums_mut(&mut self, column: usize) -> impl Iterator<Item = &mut i32> {
        self.sums.iter_mut().map(move |sums| &mut sums[column % COLUMNS])
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    type Accumulate = fn(&mut [[i32; COLUMNS]], &[u8], WeightRows<'_>);

    /// Kernels that any machine runs, with patches as the portable one writes them.
    const KERNELS: [Accumulate; 2] = [portable::accumulate, scalar::accumulate];

    fn int8(byte: u8) -> i32 {
        byte.cast_signed().into()
    }

    proptest! {
        #[test]
        fn kernels_sum_all_products(
            weights in proptest::collection::vec(any::<u8>(), 1..800),
            patches: [[u8; 90]; COLUMNS],
            start: [i32; COLUMNS],
            (length, first, behind) in (1usize..90, 0usize..20, 0usize..20),
        ) {
            let stride = first + length + behind;
            let rows: Vec<_> = weights.chunks_exact(stride).map(|row| &row[first..first + length]).collect();
            let start = start.map(|sum| sum >> 8);
            let product = |patch: &[u8; 90], row: &[u8]| -> i32 {
                patch.iter().zip(row).map(|(element, weight)| int8(*element) * int8(*weight)).sum()
            };
            let expected: Vec<_> = rows
                .iter()
                .map(|row| std::array::from_fn(|column| start[column] + product(&patches[column], row)))
                .collect();

            // Room for less than a word more than the patches need.
            let mut scratch = [0x55; COLUMNS * 93];
            for (column, patch) in patches.iter().enumerate() {
                portable::put(&mut scratch, column, 0, &patch[..length / 2]);
                portable::put(&mut scratch, column, length / 2, &patch[length / 2..length]);
            }
            for accumulate in KERNELS {
                let mut sums: Vec<[i32; COLUMNS]> = std::vec![start; rows.len()];
                accumulate(&mut sums, &scratch, WeightRows { bytes: &weights, stride, first, length });
                prop_assert_eq!(&sums, &expected);
            }
        }

        #[test]
        fn elements_are_filled_where_they_lie(at in 0usize..20, count in 0usize..20, value: i8) {
            let mut scratch = [0x55; COLUMNS * 40];
            portable::fill(&mut scratch, 1, at, count, value);
            let filled = |index: usize| index >= 40 + at && index < 40 + at + count;
            let expected: Vec<u8> =
                (0..scratch.len()).map(|index| if filled(index) { value.cast_unsigned() } else { 0x55 }).collect();
            prop_assert_eq!(&scratch[..], &expected);
        }
    }
}
