//! Curved activation functions: a table from int8 to int8.

use unbraid::writer::OutputSpec;

use super::calibrate::{Calibration, Histogram, Range};
use crate::model::Activation;

/// An activation function between two ranges of int8.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Table {
    function: Activation,
    /// Of its inputs.
    pub before: Range,
    /// Of its outputs.
    pub after: Range,
}

/// Beyond this a function is straight, or closer to its end than half a step of its output.
const REACH: f32 = 16.0;

impl Table {
    /// Whether an activation needs a table: the others are multipliers and limits.
    pub fn is_needed(function: Activation) -> bool {
        matches!(function, Activation::Elu(_) | Activation::Tanh | Activation::Sigmoid | Activation::Softplus)
    }

    /// The table for a `function` whose outputs were counted. Its inputs have the range whose rounding and clipping cost the
    /// outputs the least squared error.
    pub fn of(function: Activation, outputs: &Histogram, calibration: Calibration) -> Self {
        let bins: Vec<(f32, f32, f64)> =
            outputs.bins().map(|(output, count)| (inverse(function, output), output, count as f64)).collect();
        let error = |range: &Range| -> f64 {
            let error = |&(input, output, count): &(f32, f32, f64)| {
                count * f64::from(function.apply(range.round(input)) - output).powi(2)
            };
            bins.iter().map(error).sum()
        };
        let priced = candidates(function, &bins).into_iter().map(|range| (error(&range), range));
        let best = priced.min_by(|(a, _), (b, _)| a.total_cmp(b));
        let before = best.map_or(Range { low: -1.0, high: 1.0 }, |(_, range)| range);
        Self { function, before, after: outputs.range(calibration) }
    }

    /// The table as the device has it.
    pub fn spec(&self) -> OutputSpec {
        let entry = |input| self.after.integer(self.function.apply(self.before.real(input)));
        OutputSpec::Table {
            zero_point: self.before.zero_point(),
            table: (i8::MIN..=i8::MAX).map(entry).collect(),
            table_zero_point: self.after.zero_point(),
        }
    }
}

/// The input that gives `output`; near the ends of the function, one that is far out.
fn inverse(function: Activation, output: f32) -> f32 {
    match function {
        Activation::Elu(alpha) if output < 0.0 => (output / alpha).max(-0.999_999).ln_1p(),
        Activation::Tanh => output.clamp(-0.999_999, 0.999_999).atanh(),
        Activation::Sigmoid => {
            let share = output.clamp(1e-7, 0.999_999_9);
            (share / (1.0 - share)).ln()
        }
        // ln(eʸ - 1) = y + ln(1 - e⁻ʸ).
        Activation::Softplus => {
            let output = output.max(1e-7);
            output + (-(-output).exp_m1()).ln()
        }
        _ => output,
    }
}

/// Ranges to choose from for inputs in `bins`.
fn candidates(function: Activation, bins: &[(f32, f32, f64)]) -> Vec<Range> {
    if function == Activation::Tanh {
        // Odd, and beyond ±4 closer to ±1 than half a step.
        let limits = (5..=100).map(|percent| 4.0 * percent as f32 / 100.0);
        return limits.map(|limit| Range { low: -limit, high: limit }).collect();
    }
    const STEPS: usize = 20;
    let inputs = bins.iter().map(|bin| bin.0);
    let (low, high) = inputs.fold((0.0_f32, 0.0_f32), |(low, high), input| (low.min(input), high.max(input)));
    let low = low.max(-REACH);
    // Behind 0 an ELU and behind the reach a softplus go on straight, a sigmoid does not.
    let high = if function == Activation::Sigmoid { high.min(REACH) } else { high };
    let shares = |end: f32| (0..=STEPS).map(move |step| end * step as f32 / STEPS as f32);
    let ranges = shares(low).flat_map(|low| shares(high).map(move |high| Range { low, high }));
    ranges.filter(|range| range.low < range.high).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FUNCTIONS: [Activation; 4] =
        [Activation::Elu(1.3), Activation::Tanh, Activation::Sigmoid, Activation::Softplus];

    /// The histogram of what `function` makes of `inputs`.
    fn outputs(function: Activation, inputs: &[f32]) -> Histogram {
        let outputs: Vec<f32> = inputs.iter().map(|&input| function.apply(input)).collect();
        let (low, high) = outputs.iter().fold((0.0_f32, 0.0_f32), |(low, high), &y| (low.min(y), high.max(y)));
        let mut histogram = Histogram::new(low, high);
        histogram.add(&outputs);
        histogram
    }

    /// Evenly spread over `-limit..=limit`.
    fn spread(limit: f32) -> Vec<f32> {
        (-500..=500).map(|i| limit * i as f32 / 500.0).collect()
    }

    #[test]
    fn inverses_are_those_of_the_functions() {
        for function in FUNCTIONS {
            for input in [-6.0_f32, -2.0, -0.3, 0.0, 0.2, 1.7, 5.5] {
                let found = inverse(function, function.apply(input));
                assert!((found - input).abs() < 2e-3 * (1.0 + input.abs()), "{function:?} {input}: {found}");
            }
            // Ends, and what rounding puts behind them.
            assert!([-2.0, -1.0, 0.0, 1.0, 1.1].iter().all(|&y| inverse(function, y).is_finite()), "{function:?}");
        }
    }

    #[test]
    fn a_table_rounds_like_its_function() {
        for function in FUNCTIONS {
            let histogram = outputs(function, &spread(3.0));
            let table = Table::of(function, &histogram, Calibration::MinMax);
            let OutputSpec::Table { table: entries, .. } = table.spec() else { panic!("a table") };
            for output in spread(3.0).into_iter().map(|input| function.apply(input)) {
                let input = table.before.integer(inverse(function, output));
                let found = table.after.real(entries[usize::from(input.cast_unsigned() ^ 0x80)]);
                // Half a step of the input, whose slope is 1 at most, and half a one of the output.
                let step = table.before.scale() + table.after.scale();
                assert!((found - output).abs() < 0.6 * step, "{function:?} {output}");
            }
        }
    }

    #[test]
    fn the_range_of_inputs_follows_the_outputs() {
        let range = |function, inputs: &[f32]| Table::of(function, &outputs(function, inputs), Calibration::Mse).before;
        // Small outputs want fine steps; saturated ones want the ends within reach.
        assert!((0.5..0.8).contains(&range(Activation::Tanh, &spread(0.5)).high));
        assert!((2.0..=4.0).contains(&range(Activation::Tanh, &spread(10.0)).high));
        let sigmoid = range(Activation::Sigmoid, &spread(30.0));
        assert!(sigmoid.low > -9.0 && sigmoid.high < 9.0 && sigmoid.high > 3.0, "{sigmoid:?}");
        // What goes on straight is needed whole.
        let softplus = range(Activation::Softplus, &spread(12.0));
        assert!(softplus.high > 11.0 && softplus.low > -8.0, "{softplus:?}");
        let elu = range(Activation::Elu(1.0), &spread(12.0));
        assert!(elu.high > 11.0 && (-9.0..-2.0).contains(&elu.low), "{elu:?}");
    }

    #[test]
    fn a_layer_of_zeros_has_a_scale() {
        for function in FUNCTIONS {
            let mut zeros = Histogram::new(0.0, 0.0);
            zeros.add(&[0.0; 10]);
            let table = Table::of(function, &zeros, Calibration::Mse);
            assert!(table.before.scale() > 0.0 && table.after.scale() > 0.0, "{function:?}");
        }
    }
}
