//! The gradient of a network's output for its input, as something that the weights can be differentiated through.
//!
//! A layer is h_l = φ_l(W_l h_{l-1} + b_l), h_0 = x, its activation piecewise linear with slopes M_l (0, 1 or the leaky one). The
//! chain rule gives the gradient g of one output of the last layer L for x, over the gradients δ_l before each activation:
//!
//! ```text
//! δ_L = M_L e      δ_{l-1} = M_{l-1} W_lᵀ δ_l      g = W_1ᵀ δ_1          (e: 1 for that output, 0 for the others)
//! ```
//!
//! A loss P(g), such as the gradient penalty of Gulrajani et al. 2017 (arXiv 1704.00028, equation 3), brings v = ∂P/∂g. The slopes
//! do not change with the weights, but at the kinks, so that dP is the change of
//!
//! ```text
//! ⟨v, g⟩ = eᵀ M_L W_L M_{L-1} W_{L-1} ⋯ M_1 W_1 v
//! ```
//!
//! This is a tangent v sent forward through the network, t_0 = v, t_l = M_l W_l t_{l-1}, and each weight stands in it once,
//! between δ_l on its left and t_{l-1} on its right:
//!
//! ```text
//! dP/dW_l = δ_l t_{l-1}ᵀ, summed over the batch      dP/db_l = 0
//! ```
//!
//! That is the product which the ordinary backward pass makes of gradient and input, with the tangent for the input. So a second
//! derivative costs a pass backward, the tangent's pass forward, and the products for the weights; layers need nothing new.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

use super::{
    Network,
    fused::Backward,
    network::{to_channels_first, to_channels_last},
    ops::{self, buffers::Buffer, gemm::Output, neutral},
    tape::{Destination, Tape, inward, outward},
};
use crate::{
    Error,
    model::{Activation, Layer, Window},
    profile,
};

impl Network {
    /// For each row of `x` the gradient of output feature `output` for that row, shaped as `x`; through it, gradients reach the
    /// weights alone.
    ///
    /// # Errors
    /// The network has a layer that is not piecewise linear, does not end in a linear one, or not in so many features.
    pub fn input_gradient(&self, x: &Tensor, output: usize) -> crate::Result<Tensor> {
        let unfit = |found: String| {
            let expected =
                format!("linear and convolutional layers with ReLU or leaky ReLU that end in output {output}");
            Error::Unsupported(format!("{}: {found}; expected {expected}", self.name()))
        };
        check_piecewise_linear(self.layers()).map_err(unfit)?;
        let outputs = match self.layers().last() {
            Some(&Layer::Linear { out_features, .. }) if output < out_features => out_features,
            Some(last) => return Err(unfit(format!("the last layer is {last:?}"))),
            None => return Err(unfit("no layers".into())),
        };
        let mut readout = vec![0.0; outputs];
        readout[output] = 1.0;
        let x = x.detach();
        let Some(tape) = self.tape(&x)? else { return Ok(self.compose_input_gradient(&x, &readout)?) };
        let gradients = tape.unit_gradients(&readout)?;
        // candle asks an operation for gradients only if one of its inputs wants one: a weight stands for all of them.
        let weight = self.vars().next().map_or_else(|| x.clone(), |weight| weight.as_tensor().clone());
        Ok(x.apply_op2(&weight, InputGradient { tape, gradients })?)
    }

    /// g of first derivatives that candle knows, with constant slopes: for other devices, and the slow reference.
    fn compose_input_gradient(&self, x: &Tensor, readout: &[f32]) -> Result<Tensor> {
        let outputs = self.trace(x).map_err(candle_core::Error::wrap)?;
        let mut g = Tensor::new(readout, x.device())?.to_dtype(x.dtype())?.broadcast_left(x.dim(0)?)?;
        for (i, layer) in self.layers().iter().enumerate().rev() {
            let input = i.checked_sub(1).map_or(x, |before| &outputs[before]);
            let weight = self.parameters[i].as_ref().map(|(weight, _)| weight.as_tensor());
            g = match (layer, weight) {
                (&Layer::Conv2d { kernel, stride, padding, activation, .. }, Some(weight)) => {
                    let (_, height, width, _) = input.dims4()?;
                    let g = before_activation(&g, &outputs[i], activation)?;
                    neutral::conv2d_input_gradient(&g, weight, Window { kernel, stride, padding }, (height, width))?
                }
                (&Layer::ConvTranspose2d { kernel, stride, padding, activation, .. }, Some(weight)) => {
                    let g = before_activation(&g, &outputs[i], activation)?;
                    neutral::conv_transpose2d_input_gradient(&g, weight, Window { kernel, stride, padding })?
                }
                (&Layer::Linear { activation, .. }, Some(weight)) => {
                    neutral::linear_input_gradient(&before_activation(&g, &outputs[i], activation)?, weight)?
                }
                (Layer::Flatten, _) => {
                    let (n, height, width, channels) = input.dims4()?;
                    to_channels_last(&g.reshape((n, channels, height, width))?)?
                }
                (Layer::Unflatten { .. }, _) => to_channels_first(&g)?.flatten_from(1)?,
                (layer, _) => candle_core::bail!("{}.{i}: no way back through {layer:?}", self.name()),
            };
        }
        Ok(g)
    }
}

/// Refuses layers that [`Network::input_gradient`] does not go through: it takes linear ones with piecewise linear activations.
///
/// # Errors
/// The first such layer, by number.
pub fn check_piecewise_linear(layers: &[Layer]) -> std::result::Result<(), String> {
    let refused = |layer: &Layer| match layer {
        Layer::Conv2d { activation, .. }
        | Layer::ConvTranspose2d { activation, .. }
        | Layer::Linear { activation, .. } => activation.negative_slope().is_none(),
        Layer::Flatten | Layer::Unflatten { .. } => false,
        Layer::MaxPool { .. } | Layer::UpsampleNearest { .. } => true,
    };
    match layers.iter().position(refused) {
        None => Ok(()),
        Some(i) => Err(format!("layer {i} is {:?}", layers[i])),
    }
}

fn before_activation(g: &Tensor, output: &Tensor, activation: Activation) -> Result<Tensor> {
    match activation.negative_slope() {
        Some(1.0) => Ok(g.clone()),
        Some(slope) => g.mul(&neutral::slopes(output, slope)?),
        None => candle_core::bail!("{activation:?} is not piecewise linear"),
    }
}

/// g of a tape in candle's graph, with a way back for gradients.
struct InputGradient {
    tape: Arc<Tape>,
    /// g, then δ of each layer.
    gradients: Vec<Buffer>,
}

impl InputGradient {
    /// The gradients of the weights from `v`, that for g.
    fn backward(&self, v: &Tensor, (tensors, output): Destination) -> Result<()> {
        let Tape { name, variables, shared, n, shape, steps, .. } = &*self.tape;
        let (n, buffers) = (*n, &shared.buffers);
        let _section = profile::section(name, "double backward");
        let mut tangent = inward(n, *shape, &ops::values(&v.contiguous()?)?, buffers);
        for (step, delta) in steps.iter().zip(&self.gradients[1..]) {
            let weight = step.weight.map(|w| ops::values(&variables[w])).transpose()?;
            let weight = weight.as_deref().unwrap_or(&[]);
            let mut next = buffers.take(n * step.layer.output.size());
            let kept = step.layer.forward_linear(n, &tangent, weight, &mut next, buffers);
            step.layer.before_activation(n, &step.output, &mut next, None, buffers);
            if let Some(w) = step.weight {
                let state = Backward { x: &tangent, kept: kept.as_deref(), weight };
                ops::write(&tensors[w], |dw| step.layer.backward(n, state, delta, Some((dw, output)), None, buffers))?;
                if output == Output::Overwrite {
                    ops::write(&tensors[w + 1], |bias| bias.fill(0.0))?;
                }
            }
            tangent = next;
        }
        Ok(())
    }
}

impl CustomOp2 for InputGradient {
    fn name(&self) -> &'static str {
        "input gradient"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        let (values, shape) = outward(self.tape.n, self.tape.shape, &self.gradients[0]);
        Ok((CpuStorage::F32(values), shape))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor, v: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let Tape { shared, variables, .. } = &*self.tape;
        shared.gradients.fill(variables, |tensors, output| self.backward(v, (tensors, output)))?;
        Ok((None, None))
    }
}
