//! The functions between layers.

use serde::{Deserialize, Serialize};

/// The function applied to a layer's outputs, never falling.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// None.
    Identity,
    /// max(x, 0).
    Relu,
    /// x for x ≥ 0, else slope · x.
    LeakyRelu(f32),
    /// x for x ≥ 0, else alpha · (eˣ - 1) (Clevert et al. 2016, arXiv 1511.07289).
    Elu(f32),
    /// The hyperbolic tangent.
    Tanh,
    /// 1 / (1 + e⁻ˣ).
    Sigmoid,
    /// ln(1 + eˣ).
    Softplus,
    /// alpha · x + beta, held in 0..=1.
    HardSigmoid {
        /// The slope.
        alpha: f32,
        /// The value at 0.
        beta: f32,
    },
    /// x, held in `min..=max`: 0 to 6 is ReLU6.
    Clip {
        /// The least value.
        min: f32,
        /// The greatest value.
        max: f32,
    },
}

impl Activation {
    /// Its value at `x`; NaN stays NaN.
    pub fn apply(self, x: f32) -> f32 {
        match self {
            Self::Identity => x,
            Self::Relu => hold(x, 0.0, f32::INFINITY),
            Self::LeakyRelu(slope) => {
                if x > 0.0 {
                    x
                } else {
                    slope * x
                }
            }
            Self::Elu(alpha) => {
                if x > 0.0 {
                    x
                } else {
                    alpha * x.exp_m1()
                }
            }
            Self::Tanh => x.tanh(),
            Self::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            // ln(1 + eˣ) = max(x, 0) + ln(1 + e^-|x|), which does not overflow.
            Self::Softplus => hold(x, 0.0, f32::INFINITY) + (-x.abs()).exp().ln_1p(),
            Self::HardSigmoid { alpha, beta } => hold(alpha * x + beta, 0.0, 1.0),
            Self::Clip { min, max } => hold(x, min, max),
        }
    }

    /// Its derivative where its value is `y`: with a function that does not fall, the value says it. At a kink it is one
    /// side's.
    pub fn derivative(self, y: f32) -> f32 {
        let inside = |y: f32, min: f32, max: f32| if y > min && y < max { 1.0 } else { 0.0 };
        match self {
            Self::Identity => 1.0,
            Self::Relu => inside(y, 0.0, f32::INFINITY),
            Self::LeakyRelu(slope) => {
                if y > 0.0 {
                    1.0
                } else {
                    slope
                }
            }
            Self::Elu(alpha) => {
                if y > 0.0 {
                    1.0
                } else {
                    y + alpha
                }
            }
            Self::Tanh => 1.0 - y * y,
            Self::Sigmoid => y * (1.0 - y),
            Self::Softplus => -(-y).exp_m1(),
            Self::HardSigmoid { alpha, .. } => alpha * inside(y, 0.0, 1.0),
            Self::Clip { min, max } => inside(y, min, max),
        }
    }

    /// The slope for negative inputs of an activation that is linear on both sides of 0, with slope 1 for positive ones.
    pub fn negative_slope(self) -> Option<f32> {
        match self {
            Self::Identity => Some(1.0),
            Self::Relu => Some(0.0),
            Self::LeakyRelu(slope) => Some(slope),
            _ => None,
        }
    }

    /// Refuses parameters with which it would fall or not be a number.
    ///
    /// # Errors
    /// What was found and what was expected.
    pub fn check(self) -> Result<(), String> {
        let (fits, expected) = match self {
            Self::Identity | Self::Relu | Self::Tanh | Self::Sigmoid | Self::Softplus => return Ok(()),
            Self::LeakyRelu(slope) => (slope.is_finite() && slope >= 0.0, "a slope of 0 or more"),
            Self::Elu(alpha) => (alpha.is_finite() && alpha > 0.0, "an alpha above 0"),
            Self::HardSigmoid { alpha, beta } => {
                (alpha.is_finite() && alpha > 0.0 && beta.is_finite(), "an alpha above 0 and a finite beta")
            }
            Self::Clip { min, max } => {
                (min.is_finite() && max.is_finite() && min < max, "a min below a max, both finite")
            }
        };
        if fits { Ok(()) } else { Err(format!("activation {self:?}: expected {expected}")) }
    }
}

/// `x` held in `min..=max`, but for NaN, which has to reach the loss to stop the run.
fn hold(x: f32, min: f32, max: f32) -> f32 {
    if x < min {
        min
    } else if x > max {
        max
    } else {
        x
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Activation; 9] = [
        Activation::Identity,
        Activation::Relu,
        Activation::LeakyRelu(0.2),
        Activation::Elu(1.5),
        Activation::Tanh,
        Activation::Sigmoid,
        Activation::Softplus,
        Activation::HardSigmoid { alpha: 0.2, beta: 0.5 },
        Activation::Clip { min: -1.0, max: 6.0 },
    ];

    #[test]
    fn derivatives_are_those_of_the_functions() {
        for activation in ALL {
            for x in [-5.2_f32, -2.1, -0.7, -0.1, 0.1, 0.6, 1.9, 3.3, 7.1] {
                let h = 1e-2;
                let slope = (activation.apply(x + h) - activation.apply(x - h)) / (2.0 * h);
                let found = activation.derivative(activation.apply(x));
                assert!((found - slope).abs() < 1e-3, "{activation:?} at {x}: {found}, not {slope}");
            }
        }
    }

    #[test]
    fn no_activation_hides_nan_or_overflows() {
        for activation in ALL {
            assert!(activation.apply(f32::NAN).is_nan(), "{activation:?}");
            assert!([-1e4, 1e4].iter().all(|&x| activation.apply(x).is_finite()), "{activation:?}");
            activation.check().unwrap();
        }
        let wrong = [
            Activation::LeakyRelu(f32::NAN),
            Activation::Elu(-1.0),
            Activation::HardSigmoid { alpha: 0.0, beta: 0.5 },
            Activation::Clip { min: 1.0, max: 1.0 },
        ];
        assert!(wrong.iter().all(|activation| activation.check().is_err()));
    }
}
