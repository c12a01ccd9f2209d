//! A layer's real weights as the integers of `docs/format.md`.
//!
//! Weights: symmetric, one scale an output channel, w ≈ q·s_w with q in -127..=127. An accumulator counts in units of s_in·s_w,
//! and the multiplier m·2^-shift takes it to the units of the output.

use unbraid::{
    Shape,
    writer::{self, LayerSpec, OutputSpec, Parameters},
};

use super::{
    calibrate::Range,
    lower::{FloatLayer, Kind},
    pixels::PixelTable,
    table::Table,
};
use crate::model::{Activation, ImageShape, Window};

/// Most fraction bits of latents: ±8 in steps of 1/4096.
pub const MEAN_BITS: u8 = 12;
/// Fraction bits of log-variances: ±128 in steps of 1/256.
pub const LOG_VAR_BITS: u8 = 8;

/// What a layer's integers stand for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Units {
    /// int8 activations over a range.
    Activations(Range),
    /// The same, that a layer computes in two steps: int8 over one range, then a function by table over another.
    Table(Table),
    /// Means with so many fraction bits, then as many log-variances, int16.
    Code(u8),
    /// int16 latents with so many fraction bits, on the way in.
    Latents(u8),
    /// Pixels through a table.
    Pixels(PixelTable),
}

impl Units {
    /// What the next layer reads.
    pub fn behind(self) -> Self {
        match self {
            Self::Table(Table { after, .. }) => Self::Activations(after),
            other => other,
        }
    }

    /// These units for the accumulators of a layer, whose units are at most `unit`.
    fn for_sums(self, unit: f32) -> Self {
        match self {
            Self::Pixels(table) => Self::Pixels(table.for_sums(unit)),
            other => other,
        }
    }

    /// The real size of one step of what accumulators are rounded to for output `channel` out of `channels`.
    fn scale(&self, channel: usize, channels: usize) -> f32 {
        let fraction = |bits: u8| 1.0 / f32::from(1_u16 << bits);
        match self {
            Self::Activations(range) | Self::Table(Table { before: range, .. }) => range.scale(),
            Self::Code(_) if channel >= channels / 2 => fraction(LOG_VAR_BITS),
            Self::Code(bits) | Self::Latents(bits) => fraction(*bits),
            Self::Pixels(table) => table.step(),
        }
    }

    /// How the device makes such integers of an accumulator.
    fn spec(&self, activation: Activation) -> OutputSpec {
        match self {
            Self::Activations(range) => {
                let zero_point = range.zero_point();
                // Rounding never changes the order, so that clipping integers is the same as rounding clipped numbers.
                let (minimum, maximum) = match activation {
                    Activation::Relu => (zero_point, 127),
                    Activation::Clip { min, max } => (range.integer(min), range.integer(max)),
                    _ => (-128, 127),
                };
                OutputSpec::Int8 { zero_point, minimum, maximum }
            }
            // Latents are what a decoder starts from, no layer makes them; a code is the same int16.
            Self::Code(_) | Self::Latents(_) => OutputSpec::Code,
            Self::Table(table) => table.spec(),
            Self::Pixels(table) => OutputSpec::Pixels { table: table.entries() },
        }
    }
}

/// The fraction bits with which int16 holds numbers up to `greatest` and a quarter more: images that nobody has seen may reach further.
pub fn mean_bits(greatest: f32) -> u8 {
    let holds = |bits: &u8| 1.25 * greatest < f32::from(1_u16 << (15 - bits));
    (0..=MEAN_BITS).rev().find(holds).unwrap_or(0)
}

/// Rounds `layer` to integers; what has no weights passes its input's integers on.
pub fn quantize_layer(layer: &FloatLayer, input: Units, output: Units) -> LayerSpec {
    let window = |Window { kernel, stride, padding }| writer::Window { kernel, stride, padding: padding.before() };
    let parameters = || quantize_parameters(layer, input, output);
    let ImageShape { channels, height, width } = layer.output;
    let output = Shape { height, width, channels };
    match layer.kind {
        Kind::Conv2d(w) => LayerSpec::Conv2d { window: window(w), output, parameters: parameters() },
        Kind::ConvTranspose2d(w) => LayerSpec::ConvTranspose2d { window: window(w), output, parameters: parameters() },
        Kind::Linear => LayerSpec::Linear { output, parameters: parameters() },
        Kind::MaxPool(w) => LayerSpec::MaxPool { window: window(w), output: [height, width] },
        Kind::UpsampleNearest(factor) => LayerSpec::UpsampleNearest { factor },
    }
}

/// Rounds the weights of `layer` to integers.
fn quantize_parameters(layer: &FloatLayer, input: Units, output: Units) -> Parameters {
    let channels = layer.rows.len();
    let input_scale = input.scale(0, 1);
    let mut weights = Vec::with_capacity(channels * layer.rows.first().map_or(0, Vec::len));
    let mut biases = Vec::with_capacity(channels);
    let mut units = Vec::with_capacity(channels);
    let greatest = |row: &Vec<f32>| row.iter().fold(0.0_f32, |m, w| m.max(w.abs()));
    let greatest: Vec<f32> = layer.rows.iter().map(greatest).collect();
    let of_layer = greatest.iter().copied().fold(0.0, f32::max);
    for ((row, &bias), greatest) in layer.rows.iter().zip(&layer.bias).zip(greatest) {
        // A row of zeros still needs a unit, which others need not make room for.
        let weight_scale = match (greatest > 0.0, of_layer > 0.0) {
            (true, _) => greatest / 127.0,
            (false, true) => of_layer / 127.0,
            (false, false) => 1.0,
        };
        let unit = input_scale * weight_scale;
        biases.push((bias / unit).round() as i32);
        units.push(unit);
        weights.extend(row.iter().map(|w| (w / weight_scale).round().clamp(-127.0, 127.0) as i8));
    }
    let output = output.for_sums(units.iter().copied().fold(0.0, f32::max));
    let factor = |(channel, &unit): (usize, &f32)| f64::from(unit) / f64::from(output.scale(channel, channels));
    let factors: Vec<f64> = units.iter().enumerate().map(factor).collect();
    let slope = match layer.activation {
        Activation::LeakyRelu(slope) => Some(f64::from(slope)),
        _ => None,
    };
    let negative: Option<Vec<f64>> = slope.map(|slope| factors.iter().map(|f| f * slope).collect());
    let greatest = factors.iter().chain(negative.iter().flatten()).fold(0.0_f64, |m, f| m.max(f.abs()));
    let shift = shift_for(greatest);
    let integers = |factors: &[f64]| factors.iter().map(|f| (f * 2_f64.powi(shift.into())).round() as i32).collect();
    Parameters {
        weights,
        biases,
        multipliers: integers(&factors),
        negative_multipliers: negative.as_deref().map(integers),
        shift,
        output: output.spec(layer.activation),
    }
}

/// The greatest shift, 1..=62, at which `factor`·2^shift still fits 31 bits.
fn shift_for(factor: f64) -> u8 {
    let fits = |shift: &u8| factor * 2_f64.powi((*shift).into()) < f64::from(i32::MAX);
    (1..=62).rev().find(fits).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PixelOutput;

    #[test]
    fn latents_have_the_finest_steps_that_hold_them() {
        assert_eq!([0.0, 4.0, 6.3, 6.5, 30.0, 1e9].map(mean_bits), [12, 12, 12, 11, 9, 0]);
    }

    #[test]
    fn pixels_are_rounded_to_the_fast_way() {
        for unit in [1e-9_f32, 0.24 / 128.0, 0.25 / 128.0, 0.26 / 64.0, 0.2] {
            let table = PixelTable::finest(PixelOutput::Sigmoid).for_sums(unit);
            assert!(shift_for(f64::from(unit) / f64::from(table.step())) >= 33, "{unit}");
        }
    }

    #[test]
    fn a_row_of_zeros_takes_nothing_from_the_others() {
        let image = |channels| ImageShape { channels, height: 1, width: 1 };
        let layer = FloatLayer {
            kind: Kind::Linear,
            input: image(1),
            output: image(2),
            rows: vec![vec![0.0], vec![0.02]],
            bias: vec![0.5, -0.25],
            activation: Activation::Identity,
            divisors: vec![1.0, 1.0],
            index: 0,
        };
        let input = Units::Activations(Range { low: 0.0, high: 4.0 });
        let table = PixelTable::finest(PixelOutput::Sigmoid);
        let p = quantize_parameters(&layer, input, Units::Pixels(table));
        assert_eq!(p.output, OutputSpec::Pixels { table: table.entries() });
        let values = p
            .biases
            .iter()
            .zip(&p.multipliers)
            .map(|(&b, &m)| f64::from(b) * f64::from(m) / 2_f64.powi(p.shift.into()));
        let error = |(value, bias): (f64, f32)| (value * f64::from(table.step()) - f64::from(bias)).abs();
        assert!(values.zip(layer.bias).map(error).all(|error| error < 1e-5));
        assert_eq!(p.weights, [0, 127]);
    }
}
