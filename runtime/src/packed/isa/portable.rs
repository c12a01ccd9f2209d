//! Plain loops: the specification of every instruction set, and the fallback where none of them is there.

use super::{Clamp, DOTS, Isa, Scales, Window};
use crate::kernels::requantize;
use crate::packed::layer::Layer;
use crate::packed::output::Sink;

#[derive(Debug, Clone, Copy)]
pub(in crate::packed) struct Portable;

/// Outputs of a tile.
const OUTPUTS: usize = 8;

impl Isa for Portable {
    type Element = i16;

    const GROUP: usize = 1;
    const POSITIONS: usize = 1;
    const OUTPUTS: usize = OUTPUTS;
    const SINGLE: usize = OUTPUTS;
    const CHUNK: usize = 1;

    #[inline(always)]
    fn tile(self, weights: &[i8], window: Window, input: &[i16], starts: &[usize; DOTS], sums: &mut [i32]) {
        self.single(weights, window, input, starts[0], sums);
    }

    #[inline(always)]
    fn single(self, weights: &[i8], window: Window, input: &[i16], start: usize, sums: &mut [i32]) {
        let mut totals = [0; OUTPUTS];
        let mut weights = weights.as_chunks::<OUTPUTS>().0.iter();
        for row in 0..window.rows {
            let run = &input[start + row * window.pitch..][..window.run];
            for (x, weights) in run.iter().zip(&mut weights) {
                for (total, weight) in totals.iter_mut().zip(weights) {
                    *total += i32::from(*x) * i32::from(*weight);
                }
            }
        }
        sums.copy_from_slice(&totals);
    }

    #[inline(always)]
    fn dots(self, weights: &[i8], window: Window, input: &[i16], starts: &[usize; DOTS]) -> [i32; DOTS] {
        starts.map(|start| {
            let rows = (0..window.rows).zip(weights.chunks_exact(window.run.max(1)));
            let products = rows.flat_map(|(row, weights)| {
                let run = &input[start + row * window.pitch..][..window.run];
                run.iter().zip(weights).map(|(x, w)| i32::from(*x) * i32::from(*w))
            });
            products.sum()
        })
    }

    #[inline(always)]
    fn rescale(self, sums: &mut [i32], scales: Scales<'_>, shift: u8) {
        rescale(sums, scales, shift);
    }

    #[inline(always)]
    fn activate(self, sums: &mut [i32], scales: Scales<'_>, shift: u8, clamp: Clamp, to: &mut [i16]) {
        rescale(sums, scales, shift);
        for (to, scaled) in to.iter_mut().zip(sums) {
            *to = clamp.activation(*scaled);
        }
    }

    fn run(self, layer: &Layer<Self>, input: &[i16], latents: &[i16], sink: Sink<'_, i16>) {
        layer.run_with(self, input, latents, sink);
    }
}

/// Adds biases to sums and rescales them, with any shift.
#[inline(always)]
pub(in crate::packed) fn rescale(sums: &mut [i32], scales: Scales<'_>, shift: u8) {
    let Scales { biases, multipliers, negative_multipliers } = scales;
    for (((sum, bias), positive), negative) in sums.iter_mut().zip(biases).zip(multipliers).zip(negative_multipliers) {
        let accumulator = sum.wrapping_add(*bias);
        *sum = requantize(accumulator, if accumulator < 0 { *negative } else { *positive }, shift);
    }
}
