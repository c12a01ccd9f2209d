//! x86-64 with AVX-512 VNNI: `vpdpbusd` adds four products of u8 and int8 to each of 16 int32, 64 multiply-adds.
//!
//! Activations are stored plus 128, as u8; the bias makes up for it. A tile, one accumulator register a cell:
//!
//! ```text
//!                        weights of 16 outputs x 4 products, two registers
//!                        +-----------------+-----------------+
//!   position 0, 4 inputs | 16 accumulators | 16 accumulators |
//!      (broadcast)       +-----------------+-----------------+
//!   position 1           |                 |                 |
//!      ...
//!   position 7           |                 |                 |
//!                        +-----------------+-----------------+
//! ```
//!
//! Two loads of weights and eight broadcasts feed sixteen `vpdpbusd`: 1,024 multiply-adds.
#![allow(unsafe_code)]

use core::arch::x86_64::*;
use core::array::from_fn;
use std::is_x86_feature_detected;

use super::{Clamp, DOTS, Element, Isa, Scales, Window};
use crate::packed::layer::Layer;
use crate::packed::output::Sink;

/// Proof that the machine has AVX-512 F, BW, DQ, VL and VNNI.
#[derive(Debug, Clone, Copy)]
pub(in crate::packed) struct Avx512(());

impl Avx512 {
    /// If this machine has it.
    pub(in crate::packed) fn detect() -> Option<Self> {
        let there = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni");
        there.then_some(Avx512(()))
    }
}

const LANES: usize = 16;
const GROUP: usize = 4;
/// Bytes of a register.
const BYTES: usize = LANES * GROUP;

isa_of_proof!(Avx512, "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni", u8, 8 positions, 2 vectors);

/// The products of `POSITIONS` windows with `16 · VECTORS` outputs.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn products<const VECTORS: usize, const POSITIONS: usize>(
    weights: &[i8],
    window: Window,
    input: &[u8],
    starts: &[usize; DOTS],
    sums: &mut [i32],
) {
    let steps = window.run / GROUP;
    let starts: [usize; POSITIONS] = from_fn(|position| starts[position]);
    assert!(starts.iter().all(|start| start + window.span() <= input.len()), "a window outside the input");
    assert_eq!(weights.len(), window.rows * steps * VECTORS * BYTES, "the weights of a tile");
    assert_eq!(sums.len(), POSITIONS * VECTORS * LANES, "the sums of a tile");

    let mut totals = [[_mm512_setzero_si512(); VECTORS]; POSITIONS];
    let mut tap = weights.as_ptr();
    for row in 0..window.rows {
        // SAFETY: `start + row · pitch` is inside the input as `start + span` is.
        let runs: [*const u8; POSITIONS] = from_fn(|p| unsafe { input.as_ptr().add(starts[p] + row * window.pitch) });
        for step in 0..steps {
            // SAFETY: each of the `rows · steps` turns reads the next `VECTORS · BYTES` of the weights.
            let w: [__m512i; VECTORS] = from_fn(|v| unsafe { _mm512_loadu_si512(tap.add(v * BYTES).cast()) });
            // SAFETY: at most one past the end, after the last turn.
            tap = unsafe { tap.add(VECTORS * BYTES) };
            for (run, totals) in runs.iter().zip(&mut totals) {
                // SAFETY: `GROUP · step + GROUP ≤ run`, and a run ends inside the input.
                let x = unsafe { run.add(GROUP * step).cast::<i32>().read_unaligned() };
                let x = _mm512_set1_epi32(x);
                for (total, w) in totals.iter_mut().zip(w) {
                    *total = _mm512_dpbusd_epi32(*total, x, w);
                }
            }
        }
    }
    for (total, sums) in totals.as_flattened().iter().zip(sums.as_chunks_mut::<LANES>().0) {
        // SAFETY: `sums` are 16 int32, as wide as a register.
        unsafe { _mm512_storeu_si512(sums.as_mut_ptr().cast(), *total) };
    }
}

/// The products of 16 windows with one output: 64 at a time, and the lanes of 16 registers added up at the end.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn dots(weights: &[i8], window: Window, input: &[u8], starts: &[usize; DOTS]) -> [i32; DOTS] {
    let steps = window.run / BYTES;
    assert!(starts.iter().all(|start| start + window.span() <= input.len()), "a window outside the input");
    assert_eq!(weights.len(), window.rows * steps * BYTES, "the weights of an output");
    let mut totals = [_mm512_setzero_si512(); DOTS];
    for row in 0..window.rows {
        for step in 0..steps {
            // SAFETY: the `row · steps + step`-th of `rows · steps` registers.
            let w = unsafe { _mm512_loadu_si512(weights.as_ptr().add((row * steps + step) * BYTES).cast()) };
            let at = row * window.pitch + step * BYTES;
            for (total, start) in totals.iter_mut().zip(starts) {
                // SAFETY: `BYTES · step + BYTES ≤ run`, and the row's run ends inside the input.
                let x = unsafe { _mm512_loadu_si512(input.as_ptr().add(start + at).cast()) };
                *total = _mm512_dpbusd_epi32(*total, x, w);
            }
        }
    }
    // In each quarter of a register: the sums of two totals, of four.
    let pairs: [__m512i; 8] = from_fn(|i| {
        let (a, b) = (totals[2 * i], totals[2 * i + 1]);
        _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b))
    });
    let quads: [__m512i; 4] = from_fn(|i| {
        let (a, b) = (pairs[2 * i], pairs[2 * i + 1]);
        _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b))
    });
    // Quarters with quarters.
    let add_quarters = |a: __m512i, b: __m512i| {
        _mm512_add_epi32(_mm512_shuffle_i32x4::<0b10_00_10_00>(a, b), _mm512_shuffle_i32x4::<0b11_01_11_01>(a, b))
    };
    let sums = add_quarters(add_quarters(quads[0], quads[1]), add_quarters(quads[2], quads[3]));
    let mut all = [0; DOTS];
    // SAFETY: 16 int32 are as wide as a register.
    unsafe { _mm512_storeu_si512(all.as_mut_ptr().cast(), sums) };
    all
}

/// [`portable::rescale`](super::portable::rescale), 16 at a time.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn rescale(sums: &mut [i32], scales: Scales<'_>, shift: u8) {
    for (sums, scales) in sums.as_chunks_mut().0.iter_mut().zip(scales.registers()) {
        let scaled = scaled(sums, scales, shift);
        // SAFETY: 16 int32 are as wide as a register.
        unsafe { _mm512_storeu_si512(sums.as_mut_ptr().cast(), scaled) };
    }
}

/// [`rescale`], clamped and narrowed to bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn activate(sums: &mut [i32], scales: Scales<'_>, shift: u8, clamp: Clamp, to: &mut [u8]) {
    let [zero_point, minimum, maximum] =
        [clamp.zero_point, clamp.minimum, clamp.maximum].map(|value| _mm512_set1_epi32(value + u8::OFFSET));
    for ((sums, to), scales) in sums.as_chunks().0.iter().zip(to.as_chunks_mut::<LANES>().0).zip(scales.registers()) {
        let shifted = _mm512_add_epi32(scaled(sums, scales, shift), zero_point);
        let bytes = _mm512_cvtepi32_epi8(_mm512_min_epi32(_mm512_max_epi32(shifted, minimum), maximum));
        // SAFETY: `to` are 16 bytes.
        unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), bytes) };
    }
}

/// 16 rescaled sums.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn scaled(sums: &[i32; LANES], [bias, positive, negative]: [&[i32; LANES]; 3], shift: u8) -> __m512i {
    // SAFETY: 16 int32 are as wide as a register.
    let load = |words: &[i32; LANES]| unsafe { _mm512_loadu_si512(words.as_ptr().cast()) };
    let accumulator = _mm512_add_epi32(load(sums), load(bias));
    let is_negative = _mm512_movepi32_mask(accumulator);
    let multiplier = _mm512_mask_mov_epi32(load(positive), is_negative, load(negative));
    // Products of 64 bits, of even and of odd lanes; their upper halves.
    let even = _mm512_mul_epi32(accumulator, multiplier);
    let odd = _mm512_mul_epi32(_mm512_srli_epi64::<32>(accumulator), _mm512_srli_epi64::<32>(multiplier));
    let high = _mm512_mask_mov_epi32(_mm512_srli_epi64::<32>(even), 0b1010_1010_1010_1010, odd);
    let half = _mm512_set1_epi32(1 << (shift - 33));
    _mm512_sra_epi32(_mm512_add_epi32(high, half), _mm_cvtsi32_si128(i32::from(shift - 32)))
}
