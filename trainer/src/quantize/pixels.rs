//! From the decoder's outputs to pixels, by table.

use crate::model::PixelOutput;

/// Most table entries a logit, and logits that the table spans: ±8.
const LOGIT_STEPS: u16 = 128;
const LOGITS: u16 = 16;
/// Table entries from a black pixel to a white one.
const PIXEL_STEPS: u16 = 255;

/// A table of pixels, one for each step of the decoder's output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PixelTable {
    output: PixelOutput,
    /// Entries for each 1 of the output.
    steps: u16,
}

impl PixelTable {
    /// With the finest steps: of a sigmoid half a pixel where it is steepest, of linear output a pixel.
    pub fn finest(output: PixelOutput) -> Self {
        let steps = match output {
            PixelOutput::Sigmoid => LOGIT_STEPS,
            PixelOutput::Linear => PIXEL_STEPS,
        };
        Self { output, steps }
    }

    /// With the finest steps of a sigmoid that are more than four of the sums' `unit`: the multiplier's shift is then 33 or more, and
    /// devices round with the upper half of a product alone (`runtime/src/kernels/requantize.rs`).
    ///
    /// Nothing is lost: that the layer's inputs are rounded shakes its sums by 37 units, 0.29 (a step's share, RMS) times 127 (the
    /// greatest weight). A step of linear output is a pixel, which is coarse enough.
    pub fn for_sums(mut self, unit: f32) -> Self {
        while self.output == PixelOutput::Sigmoid && self.steps > 1 && self.step() <= 4.0 * unit {
            self.steps /= 2;
        }
        self
    }

    /// How far apart the outputs of two entries are.
    pub fn step(&self) -> f32 {
        1.0 / f32::from(self.steps)
    }

    /// The table: entry i is the pixel of the decoder's output (i - length/2)·step.
    pub fn entries(&self) -> Vec<u8> {
        let length = match self.output {
            PixelOutput::Sigmoid => LOGITS * self.steps,
            PixelOutput::Linear => 2 * (PIXEL_STEPS + 1),
        };
        let pixel = |i: u16| {
            let value = (f64::from(i) - f64::from(length / 2)) / f64::from(self.steps);
            let share = match self.output {
                PixelOutput::Sigmoid => 1.0 / (1.0 + (-value).exp()),
                PixelOutput::Linear => value.clamp(0.0, 1.0),
            };
            (255.0 * share).round() as u8
        };
        (0..length).map(pixel).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_the_functions_that_they_stand_for() {
        let sigmoid = PixelTable::finest(PixelOutput::Sigmoid).entries();
        assert_eq!((sigmoid.len(), sigmoid[0], sigmoid[1024], sigmoid[2047]), (2048, 0, 128, 255));
        let linear = PixelTable::finest(PixelOutput::Linear).entries();
        // A step is a pixel's: the table only clamps.
        assert!((0..256).all(|i| linear[i] == 0 && usize::from(linear[256 + i]) == i));
    }

    #[test]
    fn steps_are_more_than_four_units_where_they_can_be() {
        let steps = |output, unit| PixelTable::finest(output).for_sums(unit).steps;
        let sigmoid =
            [1e-9, 0.24 / 128.0, 0.26 / 128.0, 0.26 / 64.0, 0.26, 1e9].map(|u| steps(PixelOutput::Sigmoid, u));
        assert_eq!(sigmoid, [128, 128, 64, 32, 1, 1]);
        assert_eq!([1e-9, 0.26].map(|unit| steps(PixelOutput::Linear, unit)), [255, 255]);
        // Every fourth entry: the same pixels at the same outputs.
        let [finest, coarse] =
            [1e-9, 0.26 / 64.0].map(|unit| PixelTable::finest(PixelOutput::Sigmoid).for_sums(unit).entries());
        assert!(finest.iter().step_by(4).eq(&coarse));
    }
}
