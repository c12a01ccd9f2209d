//! Products of the latents, which are int16: so few that one loop serves all kernels but Helium's.

/// Σ a·b over int16, two bytes each, and int8.
pub(super) fn dot_int16(a: &[u8], b: &[u8]) -> i32 {
    let pairs = a.as_chunks().0.iter().zip(b);
    pairs.map(|(a, b)| i32::from(i16::from_le_bytes(*a)) * i32::from(b.cast_signed())).sum()
}
