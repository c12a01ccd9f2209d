//! Working memory, sized by the model.

use crate::format::size_of_u32;
use crate::plan;

/// `N` bytes of working memory.
///
/// Anything that is `AsMut<[u8]>` can take its place.
#[derive(Debug, Clone)]
pub struct Arena<const N: usize>([u8; N]);

impl<const N: usize> Arena<N> {
    /// An arena of zeros.
    pub const fn new() -> Self {
        Arena([0; N])
    }
}

impl<const N: usize> Default for Arena<N> {
    fn default() -> Self {
        Arena::new()
    }
}

impl<const N: usize> AsMut<[u8]> for Arena<N> {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// Bytes of arena that encoding and decoding need, the larger of the two; for `const` contexts.
///
/// Does not check the file as [`Model::load`](crate::Model::load) does; a loaded model's
/// [`arena_bytes`](crate::Model::arena_bytes) is the same number.
///
/// # Panics
///
/// If `file` does not hold a plan. In a `const` context that is a compile error; [`checked_arena_bytes`] does not panic.
#[expect(clippy::panic, reason = "a compile error where it is meant to be used")]
pub const fn arena_bytes(file: &[u8]) -> usize {
    match checked_arena_bytes(file) {
        Some(bytes) => bytes,
        None => panic!("not an Unbraid model file, or its working memory cannot be addressed"),
    }
}

/// [`arena_bytes`], or `None` if `file` does not hold a plan or the machine cannot address that much.
pub const fn checked_arena_bytes(file: &[u8]) -> Option<usize> {
    match plan::needs(file) {
        Some((encoder, decoder)) => {
            let (encoder, decoder) = (encoder.total(), decoder.total());
            addressable(if encoder > decoder { encoder } else { decoder })
        }
        None => None,
    }
}

/// `bytes` as the size of an object, at most `isize::MAX`, in which offsets have 32 bits.
pub(crate) const fn addressable(bytes: usize) -> Option<usize> {
    if bytes <= isize::MAX.unsigned_abs() && bytes <= size_of_u32(u32::MAX) { Some(bytes) } else { None }
}
