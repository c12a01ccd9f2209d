//! Sums of products.

/// Elements of a block that compilers turn into vector instructions.
const BLOCK: usize = 16;

#[inline]
fn int8(byte: u8) -> i16 {
    i16::from(byte.cast_signed())
}

/// Σ a·b over two int8 vectors of the same length. A product of two int8 fits int16.
#[inline]
pub(super) fn dot(a: &[u8], b: &[u8]) -> i32 {
    let (a_blocks, a_rest) = a.as_chunks::<BLOCK>();
    let (b_blocks, b_rest) = b.as_chunks::<BLOCK>();
    let mut lanes = [0; BLOCK / 2];
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        let products: [i16; BLOCK] = core::array::from_fn(|i| int8(a[i]) * int8(b[i]));
        for (i, lane) in lanes.iter_mut().enumerate() {
            *lane += i32::from(products[i]) + i32::from(products[i + BLOCK / 2]);
        }
    }
    let rest: i32 = a_rest.iter().zip(b_rest).map(|(a, b)| i32::from(int8(*a) * int8(*b))).sum();
    lanes.iter().sum::<i32>() + rest
}

/// Σ a·b over int16, two bytes each, and int8.
#[inline]
pub(super) fn dot_int16(a: &[u8], b: &[u8]) -> i32 {
    let products = a.as_chunks().0.iter().zip(b).map(|(a, b)| i32::from(i16::from_le_bytes(*a)) * i32::from(int8(*b)));
    products.sum()
}

/// Adds to each int32 accumulator o the product of `x` with bytes `first..first + length` of row o of `weights`, `stride`
/// bytes each.
#[inline]
pub(super) fn accumulate(
    accumulators: &mut [u8],
    x: &[u8],
    mut weights: &[u8],
    stride: usize,
    first: usize,
    length: usize,
    dot: impl Fn(&[u8], &[u8]) -> i32,
) {
    for accumulator in accumulators.as_chunks_mut().0 {
        let Some((row, rest)) = weights.split_at_checked(stride) else { return };
        if let Some(row) = row.get(first..first + length) {
            *accumulator = (i32::from_le_bytes(*accumulator) + dot(x, row)).to_le_bytes();
        }
        weights = rest;
    }
}
