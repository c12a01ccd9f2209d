//! x86-64 with AVX2: `vpmaddwd` adds two products of int16 in each of 8 int32, 16 multiply-adds, and `vpaddd` adds them up.
//!
//! The products of int8 as int16 are exact; `vpmaddubsw`, which takes bytes, saturates. Activations are stored as int16,
//! weights are widened where they are loaded. A tile, one accumulator register a cell:
//!
//! ```text
//!                        weights of 8 outputs x 2 products, two registers
//!                        +----------------+----------------+
//!   position 0, 2 inputs | 8 accumulators | 8 accumulators |
//!      (broadcast)       +----------------+----------------+
//!      ...
//!   position 3           |                |                |
//!                        +----------------+----------------+
//! ```
#![allow(unsafe_code)]

use core::arch::x86_64::*;
use core::array::from_fn;
use std::is_x86_feature_detected;

use super::{Clamp, DOTS, Isa, Scales, Window};
use crate::packed::layer::Layer;
use crate::packed::output::Sink;

/// Proof that the machine has AVX2.
#[derive(Debug, Clone, Copy)]
pub(in crate::packed) struct Avx2(());

impl Avx2 {
    /// If this machine has it.
    pub(in crate::packed) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Avx2(()))
    }
}

const LANES: usize = 8;
const GROUP: usize = 2;
/// Weights that fill a register once they are widened.
const WIDE: usize = LANES * GROUP;

isa_of_proof!(Avx2, "avx2", i16, 4 positions, 2 vectors);

/// The products of `POSITIONS` windows with `8 · VECTORS` outputs.
#[inline]
#[target_feature(enable = "avx2")]
fn products<const VECTORS: usize, const POSITIONS: usize>(
    weights: &[i8],
    window: Window,
    input: &[i16],
    starts: &[usize; DOTS],
    sums: &mut [i32],
) {
    let steps = window.run / GROUP;
    let starts: [usize; POSITIONS] = from_fn(|position| starts[position]);
    assert!(starts.iter().all(|start| start + window.span() <= input.len()), "a window outside the input");
    assert_eq!(weights.len(), window.rows * steps * VECTORS * WIDE, "the weights of a tile");
    assert_eq!(sums.len(), POSITIONS * VECTORS * LANES, "the sums of a tile");

    let mut totals = [[_mm256_setzero_si256(); VECTORS]; POSITIONS];
    let mut tap = weights.as_ptr();
    for row in 0..window.rows {
        // SAFETY: `start + row · pitch` is inside the input as `start + span` is.
        let runs: [*const i16; POSITIONS] = from_fn(|p| unsafe { input.as_ptr().add(starts[p] + row * window.pitch) });
        for step in 0..steps {
            // SAFETY: each of the `rows · steps` turns reads the next `VECTORS · WIDE` weights.
            let w: [__m256i; VECTORS] = from_fn(|v| unsafe { widened(tap.add(v * WIDE)) });
            // SAFETY: at most one past the end, after the last turn.
            tap = unsafe { tap.add(VECTORS * WIDE) };
            for (run, totals) in runs.iter().zip(&mut totals) {
                // SAFETY: `GROUP · step + GROUP ≤ run`, and a run ends inside the input.
                let x = unsafe { run.add(GROUP * step).cast::<i32>().read_unaligned() };
                let x = _mm256_set1_epi32(x);
                for (total, w) in totals.iter_mut().zip(w) {
                    *total = _mm256_add_epi32(*total, _mm256_madd_epi16(x, w));
                }
            }
        }
    }
    for (total, sums) in totals.as_flattened().iter().zip(sums.as_chunks_mut::<LANES>().0) {
        // SAFETY: `sums` are 8 int32, as wide as a register.
        unsafe { _mm256_storeu_si256(sums.as_mut_ptr().cast(), *total) };
    }
}

/// The products of 16 windows with one output: eight windows at a time, 16 products of each, and the lanes of their eight
/// registers added up at the end.
#[inline]
#[target_feature(enable = "avx2")]
fn dots(weights: &[i8], window: Window, input: &[i16], starts: &[usize; DOTS]) -> [i32; DOTS] {
    let steps = window.run / WIDE;
    assert!(starts.iter().all(|start| start + window.span() <= input.len()), "a window outside the input");
    assert_eq!(weights.len(), window.rows * steps * WIDE, "the weights of an output");
    let mut all = [0; DOTS];
    for (starts, all) in starts.as_chunks::<LANES>().0.iter().zip(all.as_chunks_mut::<LANES>().0) {
        let mut totals = [_mm256_setzero_si256(); LANES];
        for row in 0..window.rows {
            for step in 0..steps {
                // SAFETY: the `row · steps + step`-th of `rows · steps` registers.
                let w = unsafe { widened(weights.as_ptr().add((row * steps + step) * WIDE)) };
                let at = row * window.pitch + step * WIDE;
                for (total, start) in totals.iter_mut().zip(starts) {
                    // SAFETY: `WIDE · step + WIDE ≤ run`, and the row's run ends inside the input.
                    let x = unsafe { _mm256_loadu_si256(input.as_ptr().add(start + at).cast()) };
                    *total = _mm256_add_epi32(*total, _mm256_madd_epi16(x, w));
                }
            }
        }
        // In each half of a register: the sums of four totals.
        let quads: [__m256i; 2] = from_fn(|i| {
            let pairs = |i| _mm256_hadd_epi32(totals[i], totals[i + 1]);
            _mm256_hadd_epi32(pairs(4 * i), pairs(4 * i + 2))
        });
        let low = _mm256_permute2x128_si256::<0x20>(quads[0], quads[1]);
        let high = _mm256_permute2x128_si256::<0x31>(quads[0], quads[1]);
        // SAFETY: 8 int32 are as wide as a register.
        unsafe { _mm256_storeu_si256(all.as_mut_ptr().cast(), _mm256_add_epi32(low, high)) };
    }
    all
}

/// [`portable::rescale`](super::portable::rescale), 8 at a time.
#[inline]
#[target_feature(enable = "avx2")]
fn rescale(sums: &mut [i32], scales: Scales<'_>, shift: u8) {
    for (sums, scales) in sums.as_chunks_mut().0.iter_mut().zip(scales.registers()) {
        let scaled = scaled(sums, scales, shift);
        // SAFETY: 8 int32 are as wide as a register.
        unsafe { _mm256_storeu_si256(sums.as_mut_ptr().cast(), scaled) };
    }
}

/// [`rescale`], clamped and narrowed to int16.
#[inline]
#[target_feature(enable = "avx2")]
fn activate(sums: &mut [i32], scales: Scales<'_>, shift: u8, clamp: Clamp, to: &mut [i16]) {
    let [zero_point, minimum, maximum] =
        [clamp.zero_point, clamp.minimum, clamp.maximum].map(|value| _mm256_set1_epi32(value));
    for ((sums, to), scales) in sums.as_chunks().0.iter().zip(to.as_chunks_mut::<LANES>().0).zip(scales.registers()) {
        let shifted = _mm256_add_epi32(scaled(sums, scales, shift), zero_point);
        let clamped = _mm256_min_epi32(_mm256_max_epi32(shifted, minimum), maximum);
        let narrow = _mm_packs_epi32(_mm256_castsi256_si128(clamped), _mm256_extracti128_si256::<1>(clamped));
        // SAFETY: `to` are 8 int16, 16 bytes.
        unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), narrow) };
    }
}

/// 8 rescaled sums.
#[inline]
#[target_feature(enable = "avx2")]
fn scaled(sums: &[i32; LANES], [bias, positive, negative]: [&[i32; LANES]; 3], shift: u8) -> __m256i {
    // SAFETY: 8 int32 are as wide as a register.
    let load = |words: &[i32; LANES]| unsafe { _mm256_loadu_si256(words.as_ptr().cast()) };
    let accumulator = _mm256_add_epi32(load(sums), load(bias));
    // The sign bit of each lane chooses.
    let [positive, negative, sign] = [load(positive), load(negative), accumulator].map(|x| _mm256_castsi256_ps(x));
    let multiplier = _mm256_castps_si256(_mm256_blendv_ps(positive, negative, sign));
    // Products of 64 bits, of even and of odd lanes; their upper halves.
    let even = _mm256_mul_epi32(accumulator, multiplier);
    let odd = _mm256_mul_epi32(_mm256_srli_epi64::<32>(accumulator), _mm256_srli_epi64::<32>(multiplier));
    let high = _mm256_blend_epi32::<0b1010_1010>(_mm256_srli_epi64::<32>(even), odd);
    let half = _mm256_set1_epi32(1 << (shift - 33));
    _mm256_sra_epi32(_mm256_add_epi32(high, half), _mm_cvtsi32_si128(i32::from(shift - 32)))
}

/// 16 int8 as int16.
///
/// # Safety
///
/// 16 bytes can be read at `at`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn widened(at: *const i8) -> __m256i {
    // SAFETY: the caller's.
    _mm256_cvtepi8_epi16(unsafe { _mm_loadu_si128(at.cast()) })
}
