//! Bias and piecewise linear activation behind a matrix product, for devices without fused layers.

use candle_core::{Result, Shape, Tensor, WithDType};

use super::{
    operation::{Operation, apply2},
    product::column_sums,
};

/// φ(x + bias) for `x (…, C)` and `bias (C)`; φ has slope 1 for positive values and `negative` for the others, 0 included. NaN
/// stays NaN.
pub fn bias_activation(x: &Tensor, bias: &Tensor, negative: f32) -> Result<Tensor> {
    apply2(BiasActivation { channels: bias.dims1()?, negative }, x, bias)
}

struct BiasActivation {
    channels: usize,
    negative: f32,
}

impl Operation<2> for BiasActivation {
    fn name(&self) -> &'static str {
        "bias_activation"
    }

    fn shape(&self, [x, _]: [&Shape; 2]) -> Shape {
        x.clone()
    }

    fn values<T: WithDType>(&self, [x, bias]: [&[T]; 2]) -> Vec<T> {
        let negative = T::from_f64(self.negative.into());
        let sums = x.iter().zip(bias.iter().cycle()).map(|(&x, &bias)| x + bias);
        sums.map(|sum| if sum > T::zero() { sum } else { negative * sum }).collect()
    }

    fn numbers(&self) -> Vec<usize> {
        vec![self.channels]
    }

    fn scalars(&self) -> Vec<f32> {
        vec![self.negative]
    }

    fn gradients(&self, [x, bias]: [&Tensor; 2], y: &Tensor, g: &Tensor) -> Result<[Option<Tensor>; 2]> {
        // With slope 1 on both sides the values of y do not matter.
        let g = match self.negative {
            1.0 => g.clone(),
            negative => apply2(ActivationGradient { negative }, &g.detach(), &y.detach())?,
        };
        let bias = bias.track_op().then(|| column_sums(&g.reshape(((), self.channels))?)).transpose()?;
        Ok([x.track_op().then_some(g), bias])
    }
}

/// A gradient times the slopes of the activation, which the outputs' signs tell.
struct ActivationGradient {
    negative: f32,
}

impl Operation<2> for ActivationGradient {
    fn name(&self) -> &'static str {
        "activation_gradient"
    }

    fn shape(&self, [g, _]: [&Shape; 2]) -> Shape {
        g.clone()
    }

    fn values<T: WithDType>(&self, [g, y]: [&[T]; 2]) -> Vec<T> {
        let negative = T::from_f64(self.negative.into());
        g.iter().zip(y).map(|(&g, &y)| if y > T::zero() { g } else { negative * g }).collect()
    }

    fn scalars(&self) -> Vec<f32> {
        vec![self.negative]
    }
}
