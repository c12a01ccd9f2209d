//! 32-bit words in working memory, which the caller gives as bytes at any address.

use crate::stream::Ring;

/// Most bytes that lie in front of the first aligned word.
pub(crate) const MISALIGNMENT: usize = align_of::<i32>() - 1;

/// The aligned words of `bytes`.
#[cfg(any(kernel = "armv6m", kernel = "armv7m", kernel = "dsp"))]
#[inline]
pub(super) fn words(bytes: &[u8]) -> &[i32] {
    // SAFETY: every pattern of four bytes is an i32.
    unsafe { bytes.align_to() }.1
}

/// The aligned words of `bytes`.
#[cfg(not(kernel = "compact"))]
#[inline]
pub(super) fn words_mut(bytes: &mut [u8]) -> &mut [i32] {
    // SAFETY: every pattern of four bytes is an i32, and every i32 is four bytes.
    unsafe { bytes.align_to_mut() }.1
}

/// The aligned [`Ring`]s of `bytes`.
#[inline]
pub(crate) fn rings_mut(bytes: &mut [u8]) -> &mut [Ring] {
    // SAFETY: every pattern of eight bytes is a `Ring`, 32 bits and twice 16, and every `Ring` is eight bytes.
    unsafe { bytes.align_to_mut() }.1
}
