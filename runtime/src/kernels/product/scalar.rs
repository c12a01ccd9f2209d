//! Machines that multiply one pair of numbers at a time and have registers enough for compilers to work with: RISC-V.
//!
//! ```text
//!   patches                 weights                       sums, in registers
//!   left                    upper row                     upper·left  upper·right
//!   right                   lower row                     lower·left  lower·right
//! ```
//!
//! An element takes 4 loads, 4 multiplications and 4 additions: 12 instructions for 4 multiply-adds.

use super::WeightRows;
use super::portable::patch;
use crate::plan::COLUMNS;

/// Elements between two looks at whether there are more.
const BLOCK: usize = 4;

pub(super) fn accumulate(sums: &mut [[i32; COLUMNS]], patches: &[u8], weights: WeightRows<'_>) {
    let [left, right] = [0, 1].map(|column| patch(patches, column, weights.length));
    let mut rows = weights.iter();
    let (pairs, last) = sums.as_chunks_mut();
    for pair in pairs {
        let (Some(upper), Some(lower)) = (rows.next(), rows.next()) else { return };
        multiply(pair, [left, right], [upper, lower]);
    }
    for (sums, row) in last.iter_mut().zip(rows) {
        let mut pair = [*sums; 2];
        multiply(&mut pair, [left, right], [row, row]);
        [*sums, _] = pair;
    }
}

/// Adds the products of both patches with two rows.
fn multiply([upper_sums, lower_sums]: &mut [[i32; COLUMNS]; 2], [left, right]: [&[u8]; 2], [upper, lower]: [&[u8]; 2]) {
    let [mut upper_left, mut upper_right] = *upper_sums;
    let [mut lower_left, mut lower_right] = *lower_sums;
    let mut add = |left: u8, right: u8, upper: u8, lower: u8| {
        let [left, right, upper, lower] = [left, right, upper, lower].map(|byte| i32::from(byte.cast_signed()));
        upper_left += left * upper;
        upper_right += right * upper;
        lower_left += left * lower;
        lower_right += right * lower;
    };
    let (left, left_rest) = left.as_chunks::<BLOCK>();
    let (right, right_rest) = right.as_chunks::<BLOCK>();
    let (upper, upper_rest) = upper.as_chunks::<BLOCK>();
    let (lower, lower_rest) = lower.as_chunks::<BLOCK>();
    for (((left, right), upper), lower) in left.iter().zip(right).zip(upper).zip(lower) {
        for i in 0..BLOCK {
            add(left[i], right[i], upper[i], lower[i]);
        }
    }
    for (((left, right), upper), lower) in left_rest.iter().zip(right_rest).zip(upper_rest).zip(lower_rest) {
        add(*left, *right, *upper, *lower);
    }
    *upper_sums = [upper_left, upper_right];
    *lower_sums = [lower_left, lower_right];
}
