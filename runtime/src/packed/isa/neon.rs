//! AArch64 with dot products: `sdot` adds four products of int8 to each of 4 int32, 16 multiply-adds.
//!
//! It takes 4 of the 16 inputs in a register, so a position's inputs are loaded 16 at a time and used in four steps. Rust
//! has no stable intrinsic for it: it is written in assembly, the rest with intrinsics. A tile, one accumulator register a
//! cell:
//!
//! ```text
//!                         weights of 4 outputs x 4 products, four registers
//!                         +----------------+----------------+----------------+----------------+
//!   position 0, 16 inputs | 4 accumulators | 4 accumulators | 4 accumulators | 4 accumulators |
//!      (4 of them a step) +----------------+----------------+----------------+----------------+
//!      ...
//!   position 3            |                |                |                |                |
//!                         +----------------+----------------+----------------+----------------+
//! ```
//!
//! Four loads of inputs and sixteen of weights, eight instructions as they come in pairs, feed 64 `sdot`: 1,024
//! multiply-adds. Of 32 registers, 16 hold accumulators, 4 inputs and 4 weights.
#![allow(unsafe_code)]

use core::arch::aarch64::*;
use core::arch::asm;
use core::array::from_fn;
use std::arch::is_aarch64_feature_detected;

use super::{Clamp, DOTS, Isa, Scales, Window};
use crate::packed::layer::Layer;
use crate::packed::output::Sink;

/// Proof that the machine has NEON with dot products.
#[derive(Debug, Clone, Copy)]
pub(in crate::packed) struct Neon(());

impl Neon {
    /// If this machine has it.
    pub(in crate::packed) fn detect() -> Option<Self> {
        (is_aarch64_feature_detected!("neon") && is_aarch64_feature_detected!("dotprod")).then_some(Neon(()))
    }
}

const LANES: usize = 4;
const GROUP: usize = 4;
/// Bytes of a register.
const BYTES: usize = LANES * GROUP;

isa_of_proof!(Neon, "neon,dotprod", i8, 4 positions, 4 vectors);

/// The products of `POSITIONS` windows with `4 · VECTORS` outputs.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn products<const VECTORS: usize, const POSITIONS: usize>(
    weights: &[i8],
    window: Window,
    input: &[i8],
    starts: &[usize; DOTS],
    sums: &mut [i32],
) {
    let steps = window.run / GROUP;
    let starts: [usize; POSITIONS] = from_fn(|position| starts[position]);
    assert!(starts.iter().all(|start| start + window.span() <= input.len()), "a window outside the input");
    assert_eq!(weights.len(), window.rows * steps * VECTORS * BYTES, "the weights of a tile");
    assert_eq!(sums.len(), POSITIONS * VECTORS * LANES, "the sums of a tile");

    let mut totals = [[vdupq_n_s32(0); VECTORS]; POSITIONS];
    let mut tap = weights.as_ptr();
    for row in 0..window.rows {
        // SAFETY: `start + row · pitch` is inside the input as `start + span` is.
        let runs: [*const i8; POSITIONS] = from_fn(|p| unsafe { input.as_ptr().add(starts[p] + row * window.pitch) });
        for at in (0..window.run / BYTES).map(|chunk| chunk * BYTES) {
            // SAFETY: `at + BYTES ≤ run`, and a run ends inside the input.
            let x: [int8x16_t; POSITIONS] = from_fn(|p| unsafe { vld1q_s8(runs[p].add(at)) });
            // SAFETY: each of the `rows · steps` steps reads the next `VECTORS · BYTES` of the weights; these are four.
            unsafe {
                tap = step::<0, VECTORS, POSITIONS>(&mut totals, x, tap);
                tap = step::<1, VECTORS, POSITIONS>(&mut totals, x, tap);
                tap = step::<2, VECTORS, POSITIONS>(&mut totals, x, tap);
                tap = step::<3, VECTORS, POSITIONS>(&mut totals, x, tap);
            }
        }
        for at in (window.run / BYTES * BYTES..window.run).step_by(GROUP) {
            // SAFETY: `at + GROUP ≤ run`, and a run ends inside the input.
            let x = runs.map(|run| unsafe { run.add(at).cast::<i32>().read_unaligned() });
            // SAFETY: as above; this is one step.
            tap = unsafe {
                step::<0, VECTORS, POSITIONS>(&mut totals, x.map(|x| vreinterpretq_s8_s32(vdupq_n_s32(x))), tap)
            };
        }
    }
    for (total, sums) in totals.as_flattened().iter().zip(sums.as_chunks_mut::<LANES>().0) {
        // SAFETY: `sums` are 4 int32, as wide as a register.
        unsafe { vst1q_s32(sums.as_mut_ptr(), *total) };
    }
}

/// Adds the products of the weights at `tap` with inputs `4 · STEP..4 · STEP + 4` of each position; the weights of the next
/// step.
///
/// # Safety
///
/// `VECTORS · BYTES` bytes can be read at `tap`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn step<const STEP: i32, const VECTORS: usize, const POSITIONS: usize>(
    totals: &mut [[int32x4_t; VECTORS]; POSITIONS],
    x: [int8x16_t; POSITIONS],
    tap: *const i8,
) -> *const i8 {
    // SAFETY: the caller's.
    let w: [int8x16_t; VECTORS] = from_fn(|v| unsafe { vld1q_s8(tap.add(v * BYTES)) });
    for (totals, x) in totals.iter_mut().zip(x) {
        for (total, w) in totals.iter_mut().zip(w) {
            // SAFETY: registers in, a register out.
            unsafe {
                asm!(
                    "sdot {total:v}.4s, {w:v}.16b, {x:v}.4b[{step}]",
                    total = inout(vreg) *total,
                    w = in(vreg) w,
                    x = in(vreg) x,
                    step = const STEP,
                    options(pure, nomem, nostack, preserves_flags),
                );
            }
        }
    }
    // SAFETY: at most one past the end.
    unsafe { tap.add(VECTORS * BYTES) }
}

/// The products of 16 windows with one output: 16 at a time, and the lanes of 16 registers added up at the end.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dots(weights: &[i8], window: Window, input: &[i8], starts: &[usize; DOTS]) -> [i32; DOTS] {
    let steps = window.run / BYTES;
    assert!(starts.iter().all(|start| start + window.span() <= input.len()), "a window outside the input");
    assert_eq!(weights.len(), window.rows * steps * BYTES, "the weights of an output");
    let mut totals = [vdupq_n_s32(0); DOTS];
    for row in 0..window.rows {
        for step in 0..steps {
            // SAFETY: the `row · steps + step`-th of `rows · steps` registers.
            let w = unsafe { vld1q_s8(weights.as_ptr().add((row * steps + step) * BYTES)) };
            let at = row * window.pitch + step * BYTES;
            for (total, start) in totals.iter_mut().zip(starts) {
                // SAFETY: `BYTES · step + BYTES ≤ run`, and the row's run ends inside the input.
                let x = unsafe { vld1q_s8(input.as_ptr().add(start + at)) };
                // SAFETY: registers in, a register out.
                unsafe {
                    asm!(
                        "sdot {total:v}.4s, {w:v}.16b, {x:v}.16b",
                        total = inout(vreg) *total,
                        w = in(vreg) w,
                        x = in(vreg) x,
                        options(pure, nomem, nostack, preserves_flags),
                    );
                }
            }
        }
    }
    let mut all = [0; DOTS];
    for (totals, all) in totals.as_chunks::<LANES>().0.iter().zip(all.as_chunks_mut::<LANES>().0) {
        let [a, b, c, d] = *totals;
        // SAFETY: 4 int32 are as wide as a register.
        unsafe { vst1q_s32(all.as_mut_ptr(), vpaddq_s32(vpaddq_s32(a, b), vpaddq_s32(c, d))) };
    }
    all
}

/// [`portable::rescale`](super::portable::rescale), 4 at a time.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn rescale(sums: &mut [i32], scales: Scales<'_>, shift: u8) {
    for (sums, scales) in sums.as_chunks_mut().0.iter_mut().zip(scales.registers()) {
        let scaled = scaled(sums, scales, shift);
        // SAFETY: 4 int32 are as wide as a register.
        unsafe { vst1q_s32(sums.as_mut_ptr(), scaled) };
    }
}

/// [`rescale`], clamped and narrowed to int8, 8 at a time.
///
/// Saturated to int16 before the zero point is added: what that changes lies far outside the clamp's range.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn activate(sums: &mut [i32], scales: Scales<'_>, shift: u8, clamp: Clamp, to: &mut [i8]) {
    let [zero_point, minimum, maximum] =
        [clamp.zero_point, clamp.minimum, clamp.maximum].map(|value| vdupq_n_s16(value as i16));
    let mut sums = sums.as_chunks().0.iter().zip(scales.registers()).map(|(sums, scales)| scaled(sums, scales, shift));
    for to in to.as_chunks_mut::<{ 2 * LANES }>().0 {
        let (Some(low), Some(high)) = (sums.next(), sums.next()) else { return };
        let shifted = vqaddq_s16(vcombine_s16(vqmovn_s32(low), vqmovn_s32(high)), zero_point);
        let clamped = vminq_s16(vmaxq_s16(shifted, minimum), maximum);
        // SAFETY: `to` are 8 bytes, as wide as half a register.
        unsafe { vst1_s8(to.as_mut_ptr(), vmovn_s16(clamped)) };
    }
}

/// 4 rescaled sums.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn scaled(sums: &[i32; LANES], [bias, positive, negative]: [&[i32; LANES]; 3], shift: u8) -> int32x4_t {
    // SAFETY: 4 int32 are as wide as a register.
    let load = |words: &[i32; LANES]| unsafe { vld1q_s32(words.as_ptr()) };
    let accumulator = vaddq_s32(load(sums), load(bias));
    let multiplier = vbslq_s32(vcltzq_s32(accumulator), load(negative), load(positive));
    // Products of 64 bits; their upper halves.
    let low = vmull_s32(vget_low_s32(accumulator), vget_low_s32(multiplier));
    let high = vmull_high_s32(accumulator, multiplier);
    let high = vuzp2q_s32(vreinterpretq_s32_s64(low), vreinterpretq_s32_s64(high));
    // `srshl` by a negative number: to the right, rounded to the nearest, halves up.
    vrshlq_s32(high, vdupq_n_s32(32 - i32::from(shift)))
}
