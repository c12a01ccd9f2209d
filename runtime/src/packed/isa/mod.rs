//! What an instruction set has to offer: products of a window with many outputs, or with one.
//!
//! [`portable`] says what every other one must compute, in plain loops.

/// [`Isa`] for the proof that a machine has instructions, by functions of the module that are compiled with them:
/// `products::<VECTORS, POSITIONS>`, `dots`, `rescale` and `activate`, for registers of `LANES` sums of `GROUP` products.
#[cfg(any(target_arch = "x86_64", all(target_arch = "aarch64", target_endian = "little")))]
macro_rules! isa_of_proof {
    ($proof:ident, $features:literal, $element:ty, $positions:literal positions, $vectors:literal vectors) => {
        impl Isa for $proof {
            type Element = $element;

            const GROUP: usize = GROUP;
            const POSITIONS: usize = $positions;
            const OUTPUTS: usize = $vectors * LANES;
            const SINGLE: usize = 8 * LANES;
            const CHUNK: usize = LANES * GROUP;

            #[inline(always)]
            fn tile(
                self,
                weights: &[i8],
                window: Window,
                input: &[$element],
                starts: &[usize; DOTS],
                sums: &mut [i32],
            ) {
                // SAFETY: `self` proves that the machine has the instructions; so below.
                unsafe { products::<$vectors, $positions>(weights, window, input, starts, sums) }
            }

            #[inline(always)]
            fn single(self, weights: &[i8], window: Window, input: &[$element], start: usize, sums: &mut [i32]) {
                // SAFETY: as in `tile`.
                unsafe { products::<8, 1>(weights, window, input, &[start; DOTS], sums) }
            }

            #[inline(always)]
            fn dots(self, weights: &[i8], window: Window, input: &[$element], starts: &[usize; DOTS]) -> [i32; DOTS] {
                // SAFETY: as in `tile`.
                unsafe { dots(weights, window, input, starts) }
            }

            #[inline(always)]
            fn rescale(self, sums: &mut [i32], scales: Scales<'_>, shift: u8) {
                // SAFETY: as in `tile`.
                unsafe { rescale(sums, scales, shift) }
            }

            #[inline(always)]
            fn activate(self, sums: &mut [i32], scales: Scales<'_>, shift: u8, clamp: Clamp, to: &mut [$element]) {
                // SAFETY: as in `tile`.
                unsafe { activate(sums, scales, shift, clamp, to) }
            }

            fn run(self, layer: &Layer<Self>, input: &[$element], latents: &[i16], sink: Sink<'_, $element>) {
                #[target_feature(enable = $features)]
                fn inner(
                    isa: $proof,
                    layer: &Layer<$proof>,
                    input: &[$element],
                    latents: &[i16],
                    sink: Sink<'_, $element>,
                ) {
                    layer.run_with(isa, input, latents, sink);
                }
                // SAFETY: as in `tile`.
                unsafe { inner(self, layer, input, latents, sink) }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
pub(super) mod neon;
pub(super) mod portable;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub(super) mod simd128;

use super::layer::Layer;
use super::output::Sink;

/// Where the products of an output find their input: `rows` runs of `run` elements, `pitch` apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) rows: usize,
    pub(super) run: usize,
    pub(super) pitch: usize,
}

impl Window {
    /// Elements from the first to behind the last.
    pub(super) fn span(&self) -> usize {
        if self.rows == 0 { 0 } else { (self.rows - 1) * self.pitch + self.run }
    }
}

/// Windows whose products with one output are computed together; the most that any tile has.
pub(super) const DOTS: usize = 16;

/// What turns sums into outputs, one number for each of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scales<'a> {
    pub(super) biases: &'a [i32],
    pub(super) multipliers: &'a [i32],
    /// Those for negative accumulators.
    pub(super) negative_multipliers: &'a [i32],
}

impl<'a> Scales<'a> {
    /// Biases, multipliers and those for negative accumulators, a register of `LANES` each.
    #[inline(always)]
    fn registers<const LANES: usize>(self) -> impl Iterator<Item = [&'a [i32; LANES]; 3]> {
        let [biases, multipliers, negative] =
            [self.biases, self.multipliers, self.negative_multipliers].map(|words| words.as_chunks().0);
        biases.iter().zip(multipliers).zip(negative).map(|((bias, positive), negative)| [bias, positive, negative])
    }
}

/// The zero point and the range of activations.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clamp {
    pub(super) zero_point: i32,
    pub(super) minimum: i32,
    pub(super) maximum: i32,
}

impl Clamp {
    /// A rescaled sum as an activation.
    #[inline(always)]
    pub(super) fn activation<E: Element>(self, scaled: i32) -> E {
        E::new((scaled + self.zero_point).max(self.minimum).min(self.maximum))
    }
}

/// An int8 activation as an instruction set wants to find it in memory.
pub(super) trait Element: Copy + Ord + Send + Sync + 'static {
    /// What is stored in place of 0.
    const OFFSET: i32;

    /// From a number in the int8 range.
    fn new(value: i32) -> Self;

    /// The number, counted from the least int8: 0 to 255.
    fn index(self) -> usize;
}

impl Element for i16 {
    const OFFSET: i32 = 0;

    #[inline(always)]
    fn new(value: i32) -> Self {
        value as i16
    }

    #[inline(always)]
    fn index(self) -> usize {
        usize::from((self + 128) as u8)
    }
}

impl Element for i8 {
    const OFFSET: i32 = 0;

    #[inline(always)]
    fn new(value: i32) -> Self {
        value as i8
    }

    #[inline(always)]
    fn index(self) -> usize {
        usize::from(self.cast_unsigned() ^ 0x80)
    }
}

impl Element for u8 {
    const OFFSET: i32 = 128;

    #[inline(always)]
    fn new(value: i32) -> Self {
        (value + Self::OFFSET) as u8
    }

    #[inline(always)]
    fn index(self) -> usize {
        self.into()
    }
}

/// An instruction set. A value of the type is the proof that this machine has it.
pub(super) trait Isa: Copy + Send + Sync + 'static {
    /// Activations in memory.
    type Element: Element;

    /// Neighboring products that a lane adds up in one instruction; runs are padded to a multiple.
    const GROUP: usize;
    /// Positions of a tile.
    const POSITIONS: usize;
    /// Outputs of a tile.
    const OUTPUTS: usize;
    /// Outputs that [`single`](Self::single) computes.
    const SINGLE: usize;
    /// Products that [`dots`](Self::dots) takes at a time; runs are padded to a multiple.
    const CHUNK: usize;

    /// The products of `POSITIONS` windows with `OUTPUTS` outputs each, without bias. The windows start at the first of
    /// `starts`.
    ///
    /// `weights` are `(rows, run / GROUP, OUTPUTS, GROUP)`, `sums` `(POSITIONS, OUTPUTS)`.
    fn tile(self, weights: &[i8], window: Window, input: &[Self::Element], starts: &[usize; DOTS], sums: &mut [i32]);

    /// The products of one window with `SINGLE` outputs. `weights` are `(rows, run / GROUP, SINGLE, GROUP)`.
    fn single(self, weights: &[i8], window: Window, input: &[Self::Element], start: usize, sums: &mut [i32]);

    /// The products of 16 windows with one output. `weights` are `(rows, run)`.
    fn dots(self, weights: &[i8], window: Window, input: &[Self::Element], starts: &[usize; DOTS]) -> [i32; DOTS];

    /// Adds biases to sums and rescales them, as `docs/format.md` says, for shifts from 33. As many as a register holds, or a
    /// multiple.
    fn rescale(self, sums: &mut [i32], scales: Scales<'_>, shift: u8);

    /// [`rescale`](Self::rescale) and [`Clamp::activation`] in one.
    fn activate(self, sums: &mut [i32], scales: Scales<'_>, shift: u8, clamp: Clamp, to: &mut [Self::Element]);

    /// [`Layer::run_with`], compiled for the instruction set.
    fn run(self, layer: &Layer<Self>, input: &[Self::Element], latents: &[i16], sink: Sink<'_, Self::Element>);
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::*;
    use crate::format::MAX_SHIFT;
    use crate::kernels::requantize;

    /// Powers of two and their neighbors, and what bits of all kinds make.
    fn edges() -> Vec<i32> {
        let mut edges: Vec<i32> = (0..31).flat_map(|bit| [(1 << bit) - 1, 1 << bit, (1 << bit) + 1]).collect();
        edges.extend([i32::MAX, 0x5555_5555, 1_234_567_891]);
        edges.extend(edges.clone().iter().map(|edge| -edge));
        edges
    }

    fn check<I: Isa>(isa: Option<I>) {
        let Some(isa) = isa else { return };
        const BIAS: i32 = 77;
        let clamp = Clamp { zero_point: -7, minimum: -100, maximum: 101 };
        let accumulators = edges();
        assert_eq!(accumulators.len() % 64, 0, "whole registers");
        let sums: Vec<i32> = accumulators.iter().map(|accumulator| accumulator.wrapping_sub(BIAS)).collect();
        let all = |number: i32| vec![number; accumulators.len()];
        let biases = all(BIAS);
        for shift in 33..=MAX_SHIFT {
            for positive in &accumulators {
                let negative = positive / 3;
                let expected = accumulators.iter().map(|accumulator| {
                    requantize(*accumulator, if *accumulator < 0 { negative } else { *positive }, shift)
                });
                let (multipliers, negative_multipliers) = (all(*positive), all(negative));
                let scales =
                    Scales { biases: &biases, multipliers: &multipliers, negative_multipliers: &negative_multipliers };
                let mut rescaled = sums.clone();
                isa.rescale(&mut rescaled, scales, shift);
                assert!(rescaled.into_iter().eq(expected.clone()), "{positive} >> {shift}");

                let mut activations = vec![I::Element::new(0); accumulators.len()];
                isa.activate(&mut sums.clone(), scales, shift, clamp, &mut activations);
                let expected = expected.map(|scaled| clamp.activation(scaled));
                assert!(activations.into_iter().eq(expected), "{positive} >> {shift}, clamped");
            }
        }
    }

    #[test]
    fn rescaling_in_32_bits_agrees_with_the_specification() {
        check(Some(portable::Portable));
        #[cfg(target_arch = "x86_64")]
        {
            check(avx2::Avx2::detect());
            check(avx512::Avx512::detect());
        }
        #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
        check(neon::Neon::detect());
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        check(Some(simd128::Simd128));
    }
}
