//! WebAssembly with SIMD: `i32x4.dot_i16x8_s` adds two products of int16 in each of 4 int32, 8 multiply-adds, and `i32x4.add`
//! adds them up.
//!
//! There is nothing to detect: a module with instructions that the engine lacks does not load. Activations are stored as
//! int16, weights are widened where they are loaded. A tile, one accumulator vector a cell:
//!
//! ```text
//!                        weights of 4 outputs x 2 products, two vectors
//!                        +----------------+----------------+
//!   position 0, 2 inputs | 4 accumulators | 4 accumulators |
//!      (broadcast)       +----------------+----------------+
//!      ...
//!   position 3           |                |                |
//!                        +----------------+----------------+
//! ```
//!
//! Two loads of weights and four broadcasts feed eight `i32x4.dot_i16x8_s`: 64 multiply-adds. Engines on x86-64 have 16
//! registers to give.
#![allow(unsafe_code)]

use core::arch::wasm32::*;
use core::array::from_fn;

use super::{Clamp, DOTS, Isa, Scales, Window};
use crate::packed::layer::Layer;
use crate::packed::output::Sink;

#[derive(Debug, Clone, Copy)]
pub(in crate::packed) struct Simd128;

const LANES: usize = 4;
const GROUP: usize = 2;
/// Weights that fill a vector once they are widened.
const WIDE: usize = LANES * GROUP;
/// Windows of [`dots`](Isa::dots) at a time.
const HALF: usize = DOTS / 2;

impl Isa for Simd128 {
    type Element = i16;

    const GROUP: usize = GROUP;
    const POSITIONS: usize = 4;
    const OUTPUTS: usize = 2 * LANES;
    const SINGLE: usize = 8 * LANES;
    const CHUNK: usize = WIDE;

    #[inline(always)]
    fn tile(self, weights: &[i8], window: Window, input: &[i16], starts: &[usize; DOTS], sums: &mut [i32]) {
        products::<2, { Simd128::POSITIONS }>(weights, window, input, starts, sums);
    }

    #[inline(always)]
    fn single(self, weights: &[i8], window: Window, input: &[i16], start: usize, sums: &mut [i32]) {
        products::<8, 1>(weights, window, input, &[start; DOTS], sums);
    }

    /// Eight windows at a time, 8 products of each, and the lanes of their vectors added up at the end.
    #[inline(always)]
    fn dots(self, weights: &[i8], window: Window, input: &[i16], starts: &[usize; DOTS]) -> [i32; DOTS] {
        let steps = window.run / WIDE;
        assert!(starts.iter().all(|start| start + window.span() <= input.len()), "a window outside the input");
        assert_eq!(weights.len(), window.rows * steps * WIDE, "the weights of an output");
        let mut all = [0; DOTS];
        for (starts, all) in starts.as_chunks::<HALF>().0.iter().zip(all.as_chunks_mut::<HALF>().0) {
            let mut totals = [i32x4_splat(0); HALF];
            for row in 0..window.rows {
                for step in 0..steps {
                    // SAFETY: the `row · steps + step`-th of `rows · steps` vectors.
                    let w = unsafe { i16x8_load_extend_i8x8(weights.as_ptr().add((row * steps + step) * WIDE)) };
                    let at = row * window.pitch + step * WIDE;
                    for (total, start) in totals.iter_mut().zip(starts) {
                        // SAFETY: `WIDE · step + WIDE ≤ run`, and the row's run ends inside the input.
                        let x = unsafe { v128_load(input.as_ptr().add(start + at).cast()) };
                        *total = i32x4_add(*total, i32x4_dot_i16x8(x, w));
                    }
                }
            }
            for (totals, all) in totals.as_chunks::<LANES>().0.iter().zip(all.as_chunks_mut::<LANES>().0) {
                let [a, b, c, d] = *totals;
                store(all, add_pairs(add_pairs(a, b), add_pairs(c, d)));
            }
        }
        all
    }

    #[inline(always)]
    fn rescale(self, sums: &mut [i32], scales: Scales<'_>, shift: u8) {
        for (sums, scales) in sums.as_chunks_mut().0.iter_mut().zip(scales.registers()) {
            store(sums, scaled(sums, scales, shift));
        }
    }

    /// 8 at a time. Saturated to int16 before the zero point is added: what that changes lies far outside the clamp's range.
    #[inline(always)]
    fn activate(self, sums: &mut [i32], scales: Scales<'_>, shift: u8, clamp: Clamp, to: &mut [i16]) {
        let [zero_point, minimum, maximum] =
            [clamp.zero_point, clamp.minimum, clamp.maximum].map(|value| i16x8_splat(value as i16));
        let mut sums =
            sums.as_chunks().0.iter().zip(scales.registers()).map(|(sums, scales)| scaled(sums, scales, shift));
        for to in to.as_chunks_mut::<{ 2 * LANES }>().0 {
            let (Some(low), Some(high)) = (sums.next(), sums.next()) else { return };
            let shifted = i16x8_add_sat(i16x8_narrow_i32x4(low, high), zero_point);
            let clamped = i16x8_min(i16x8_max(shifted, minimum), maximum);
            // SAFETY: 8 int16 are as wide as a vector.
            unsafe { v128_store(to.as_mut_ptr().cast(), clamped) };
        }
    }

    fn run(self, layer: &Layer<Self>, input: &[i16], latents: &[i16], sink: Sink<'_, i16>) {
        layer.run_with(self, input, latents, sink);
    }
}

/// The products of `POSITIONS` windows with `4 · VECTORS` outputs.
#[inline(always)]
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

    let mut totals = [[i32x4_splat(0); VECTORS]; POSITIONS];
    let mut tap = weights.as_ptr();
    for row in 0..window.rows {
        // SAFETY: `start + row · pitch` is inside the input as `start + span` is.
        let runs: [*const i16; POSITIONS] = from_fn(|p| unsafe { input.as_ptr().add(starts[p] + row * window.pitch) });
        for step in 0..steps {
            // SAFETY: each of the `rows · steps` turns reads the next `VECTORS · WIDE` weights.
            let w: [v128; VECTORS] = from_fn(|v| unsafe { i16x8_load_extend_i8x8(tap.add(v * WIDE)) });
            // SAFETY: at most one past the end, after the last turn.
            tap = unsafe { tap.add(VECTORS * WIDE) };
            for (run, totals) in runs.iter().zip(&mut totals) {
                // SAFETY: `GROUP · step + GROUP ≤ run`, and a run ends inside the input; it need not be aligned.
                let x = unsafe { v128_load32_splat(run.add(GROUP * step).cast()) };
                for (total, w) in totals.iter_mut().zip(w) {
                    *total = i32x4_add(*total, i32x4_dot_i16x8(x, w));
                }
            }
        }
    }
    for (total, sums) in totals.as_flattened().iter().zip(sums.as_chunks_mut::<LANES>().0) {
        store(sums, *total);
    }
}

/// The sums of neighboring lanes of `a` and of `b`.
#[inline(always)]
fn add_pairs(a: v128, b: v128) -> v128 {
    i32x4_add(i32x4_shuffle::<0, 2, 4, 6>(a, b), i32x4_shuffle::<1, 3, 5, 7>(a, b))
}

/// 4 rescaled sums, as by [`portable::rescale`](super::portable::rescale).
#[inline(always)]
fn scaled(sums: &[i32; LANES], [bias, positive, negative]: [&[i32; LANES]; 3], shift: u8) -> v128 {
    let accumulator = i32x4_add(load(sums), load(bias));
    let is_negative = i32x4_shr(accumulator, 31);
    let multiplier = v128_bitselect(load(negative), load(positive), is_negative);
    // Products of 64 bits; their upper halves.
    let low = i64x2_extmul_low_i32x4(accumulator, multiplier);
    let high = i64x2_extmul_high_i32x4(accumulator, multiplier);
    let high = i32x4_shuffle::<1, 3, 5, 7>(low, high);
    i32x4_shr(i32x4_add(high, i32x4_splat(1 << (shift - 33))), u32::from(shift - 32))
}

#[inline(always)]
fn load(words: &[i32; LANES]) -> v128 {
    // SAFETY: 4 int32 are as wide as a vector.
    unsafe { v128_load(words.as_ptr().cast()) }
}

#[inline(always)]
fn store(words: &mut [i32; LANES], vector: v128) {
    // SAFETY: 4 int32 are as wide as a vector.
    unsafe { v128_store(words.as_mut_ptr().cast(), vector) }
}
