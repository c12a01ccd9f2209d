//! The specification, for every machine: int8 patches, one after the other, and plain sums of products.
//!
//! Compilers turn them into vector instructions where there are any.

use core::array;

use super::WeightRows;
use crate::plan::COLUMNS;
use crate::stream::copy;

pub(super) const ELEMENT_BYTES: usize = 1;

/// Elements of a block that compilers turn into vector instructions.
const BLOCK: usize = 16;

/// The patch of a column.
#[inline]
pub(super) fn patch(patches: &[u8], column: usize, length: usize) -> &[u8] {
    patches.get(column * (patches.len() / COLUMNS)..).and_then(|patch| patch.get(..length)).unwrap_or(&[])
}

/// Elements `at..` of a column's patch.
#[inline]
fn elements_mut(patches: &mut [u8], column: usize, at: usize, count: usize) -> &mut [u8] {
    let start = column * (patches.len() / COLUMNS) + at;
    patches.get_mut(start..start + count).unwrap_or(&mut [])
}

#[inline]
pub(super) fn put(patches: &mut [u8], column: usize, at: usize, bytes: &[u8]) {
    copy(elements_mut(patches, column, at, bytes.len()), bytes);
}

#[inline]
pub(super) fn fill(patches: &mut [u8], column: usize, at: usize, count: usize, value: i8) {
    elements_mut(patches, column, at, count).fill(value.cast_unsigned());
}

pub(super) fn accumulate(sums: &mut [[i32; COLUMNS]], patches: &[u8], weights: WeightRows<'_>) {
    for (sums, row) in sums.iter_mut().zip(weights.iter()) {
        for (column, sum) in sums.iter_mut().enumerate() {
            *sum += dot(patch(patches, column, row.len()), row);
        }
    }
}

/// Σ a·b over two int8 vectors of the same length. A product of two int8 fits int16.
///
/// Inlined by link-time optimization it would lose its vector instructions, and take ten times as long on x86-64.
#[inline(never)]
fn dot(a: &[u8], b: &[u8]) -> i32 {
    let (a_blocks, a_rest) = a.as_chunks::<BLOCK>();
    let (b_blocks, b_rest) = b.as_chunks::<BLOCK>();
    let mut lanes = [0; BLOCK / 2];
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        let products: [i16; BLOCK] = array::from_fn(|i| int8(a[i]) * int8(b[i]));
        for (i, lane) in lanes.iter_mut().enumerate() {
            *lane += i32::from(products[i]) + i32::from(products[i + BLOCK / 2]);
        }
    }
    let rest: i32 = a_rest.iter().zip(b_rest).map(|(a, b)| i32::from(int8(*a) * int8(*b))).sum();
    lanes.iter().sum::<i32>() + rest
}

#[inline]
fn int8(byte: u8) -> i16 {
    byte.cast_signed().into()
}
