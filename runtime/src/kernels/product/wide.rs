//! Cortex-M0 and M3, which multiply one pair of numbers at a time: patches are words.
//!
//! The elements of both patches alternate, so that one LDM loads those of both.

use super::WeightRows;
use crate::kernels::words::{words, words_mut};
use crate::plan::COLUMNS;

#[cfg_attr(kernel = "armv6m", path = "armv6m.rs")]
#[cfg_attr(kernel = "armv7m", path = "armv7m.rs")]
mod multiply;

pub(super) const ELEMENT_BYTES: usize = 4;
/// Elements that are multiplied together.
const GROUP: usize = 4;

/// An element of each patch.
type Pair = [i32; COLUMNS];

/// Elements `at..` of a column's patch.
#[inline]
fn elements_mut(patches: &mut [u8], column: usize, at: usize) -> impl Iterator<Item = &mut i32> {
    let pairs = words_mut(patches).as_chunks_mut::<COLUMNS>().0.get_mut(at..).unwrap_or(&mut []);
    pairs.iter_mut().map(move |pair| &mut pair[column % COLUMNS])
}

pub(super) fn put(patches: &mut [u8], column: usize, at: usize, bytes: &[u8]) {
    for (element, byte) in elements_mut(patches, column, at).zip(bytes) {
        *element = byte.cast_signed().into();
    }
}

pub(super) fn fill(patches: &mut [u8], column: usize, at: usize, count: usize, value: i8) {
    elements_mut(patches, column, at).take(count).for_each(|element| *element = value.into());
}

pub(super) fn accumulate(sums: &mut [[i32; COLUMNS]], patches: &[u8], weights: WeightRows<'_>) {
    let patches = words(patches).as_chunks().0.get(..weights.length).unwrap_or(&[]);
    let whole = patches.len() / GROUP * GROUP;
    let (patches, rest) = patches.split_at(whole);
    if !rest.is_empty() {
        accumulate_rest(sums, rest, weights);
    }
    let Some(bytes) = weights.checked(sums.len()) else { return };
    let (pairs, last) = sums.as_chunks_mut::<2>();
    if !patches.is_empty() && !pairs.is_empty() {
        // SAFETY: `bytes` reach from the first element of the first row to the last element of the last row, of which
        // there are no fewer than two for each pair; `whole` elements of each are in groups, and so many are `patches`.
        unsafe {
            multiply::rows(pairs.as_mut_ptr(), patches.as_ptr(), bytes.as_ptr(), weights.stride, whole, pairs.len());
        }
    }
    if let [sums] = last {
        accumulate_row(sums, patches, weights.iter().nth(2 * pairs.len()).unwrap_or(&[]));
    }
}

/// Adds the products of the last elements, fewer than a group has, with all rows.
#[inline(never)]
fn accumulate_rest(sums: &mut [[i32; COLUMNS]], rest: &[Pair], weights: WeightRows<'_>) {
    for (sums, row) in sums.iter_mut().zip(weights.iter()) {
        accumulate_row(sums, rest, row.get(weights.length - rest.len()..).unwrap_or(&[]));
    }
}

/// Adds the products with one row.
#[inline(never)]
fn accumulate_row([left_sum, right_sum]: &mut [i32; COLUMNS], patches: &[Pair], row: &[u8]) {
    for ([left, right], weight) in patches.iter().zip(row) {
        let weight = i32::from(weight.cast_signed());
        *left_sum = left_sum.wrapping_add(left.wrapping_mul(weight));
        *right_sum = right_sum.wrapping_add(right.wrapping_mul(weight));
    }
}
