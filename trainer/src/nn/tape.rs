//! One pass of a network over a batch on the CPU, with what its gradients need.
//!
//! To candle a whole network is one operation. Inside, its layers run one after another, forward and backward, in buffers that
//! each step uses again. The gradients of the weights do not pass through candle, which would copy each of them twice, but stay
//! with the network ([`Gradients`](super::gradients::Gradients)).

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp2, Device, Layout, Result, Shape, Tensor, Var, bail};

use super::{
    fused::{Backward, Fused, Inner},
    gradients::Gradients,
    ops::{
        self, activation,
        buffers::{Buffer, Buffers},
        gemm::Output,
        permute,
    },
};
use crate::{model::Layer, profile};

/// What the passes of one network share.
#[derive(Debug, Default)]
pub struct Shared {
    /// Memory for what is between layers.
    pub buffers: Buffers,
    /// The gradients of the weights.
    pub gradients: Gradients,
}

/// A pass that was made.
#[derive(Debug)]
pub struct Tape {
    pub(super) name: &'static str,
    /// Weight and bias of each layer that has them, in order.
    pub(super) variables: Vec<Var>,
    pub(super) shared: Arc<Shared>,
    pub(super) n: usize,
    pub(super) shape: Inner,
    input: Buffer,
    /// What each layer is, took and left.
    pub(super) steps: Vec<Step>,
    /// See [`Self::unit_gradients`].
    unit_gradients: OnceLock<Vec<Buffer>>,
}

#[derive(Debug)]
pub(super) struct Step {
    pub layer: Fused,
    /// Where its weight stands in the variables; its bias follows.
    pub weight: Option<usize>,
    pub output: Buffer,
    kept: Option<Buffer>,
}

impl Tape {
    /// Runs `layers` on `x (N, H, W, C)` or `(N, features)`.
    pub fn record(
        name: &'static str,
        layers: &[Layer],
        variables: Vec<Var>,
        shared: &Arc<Shared>,
        x: &Tensor,
    ) -> Result<Self> {
        let _section = profile::section(name, "forward");
        let n = x.dim(0)?;
        let shape = match *x.dims() {
            [_, height, width, channels] => Inner::Image(height, width, channels),
            [_, features] => Inner::Features(features),
            _ => bail!("{name}: expected (N, H, W, C) or (N, features), found {:?}", x.dims()),
        };
        let buffers = &shared.buffers;
        let input = inward(n, shape, &ops::values(&x.contiguous()?)?, buffers);
        let mut steps: Vec<Step> = Vec::with_capacity(layers.len());
        let mut with_weights = 0;
        for layer in layers {
            let (x, shape) = steps.last().map_or((&input, shape), |step| (&step.output, step.layer.output));
            let fused = Fused::new(layer, shape)?;
            let weight = layer.parameters().map(|_| 2 * with_weights);
            with_weights += usize::from(weight.is_some());
            let mut output = buffers.take(n * fused.output.size());
            let kept = match weight {
                Some(w) => {
                    let (weight, bias) = (ops::values(&variables[w])?, ops::values(&variables[w + 1])?);
                    fused.forward(n, x, (&weight, &bias), &mut output, buffers)
                }
                None => fused.forward(n, x, (&[], &[]), &mut output, buffers),
            };
            steps.push(Step { layer: fused, weight, output, kept });
        }
        Ok(Self { name, variables, shared: shared.clone(), n, shape, input, steps, unit_gradients: OnceLock::new() })
    }

    /// The outputs of all layers, each `(N, H, W, C)` or `(N, features)`.
    pub fn outputs(&self) -> impl Iterator<Item = Result<Tensor>> {
        self.steps.iter().map(|step| tensor(self.n, step.layer.output, &step.output))
    }

    fn last(&self) -> (Inner, &Buffer) {
        self.steps.last().map_or((self.shape, &self.input), |step| (step.layer.output, &step.output))
    }

    /// The gradient for the input from the one for the output; with `gradients`, those of the weights are written there.
    fn backward(&self, gradient: &Tensor, input: bool, gradients: Option<Destination>) -> Result<Option<Tensor>> {
        let _section = profile::section(self.name, "backward");
        let (n, buffers) = (self.n, &self.shared.buffers);
        let mut g = inward(n, self.last().0, &ops::values(&gradient.contiguous()?)?, buffers);
        for i in (0..self.steps.len()).rev() {
            self.before_activation(i, &mut g, gradients)?;
            match self.layer_backward(i, &g, input || i > 0, gradients)? {
                Some(dx) => g = dx,
                None => return Ok(None),
            }
        }
        if input { tensor(n, self.shape, &g).map(Some) } else { Ok(None) }
    }

    /// [`Self::backward`] from the gradient `(N)` for `output·readout`.
    ///
    /// Rows do not meet in linear layers, so a row's gradients, anywhere in the network, are those for a gradient of 1 times the
    /// row's own. The former are the same for every loss of this pass: only the first one goes back through the network.
    fn backward_readout(
        &self,
        readout: &[f32],
        factors: &[f32],
        input: bool,
        gradients: Option<Destination>,
    ) -> Result<Option<Tensor>> {
        let _section = profile::section(self.name, "backward");
        let (n, buffers) = (self.n, &self.shared.buffers);
        let mut shapes = self.steps.iter().map(|step| step.layer.output).chain([self.shape]);
        if shapes.any(|shape| matches!(shape, Inner::Image(..))) {
            bail!("{}: a readout takes linear layers", self.name);
        }
        let unit_gradients = match self.unit_gradients.get() {
            Some(known) => known,
            None => {
                let found = self.unit_gradients(readout)?;
                self.unit_gradients.get_or_init(|| found)
            }
        };
        if let Some((tensors, output)) = gradients {
            for (i, (step, unit)) in self.steps.iter().zip(&unit_gradients[1..]).enumerate() {
                let mut g = buffers.take(unit.len());
                scale_columns(unit, factors, &mut g);
                if let Some(w) = step.weight {
                    ops::write(&tensors[w + 1], |bias| activation::bias_gradient_rows(n, &g, bias, output))?;
                }
                self.layer_backward(i, &g, false, gradients)?;
            }
        }
        if !input {
            return Ok(None);
        }
        let mut dx = buffers.take(n * self.shape.size());
        scale_columns(&unit_gradients[0], factors, &mut dx);
        tensor(n, self.shape, &dx).map(Some)
    }

    /// The gradients of each row's `output·readout` for the row's input and, one after another, before each layer's activation.
    pub(super) fn unit_gradients(&self, readout: &[f32]) -> Result<Vec<Buffer>> {
        let (last, buffers) = (self.last().0, &self.shared.buffers);
        if last != Inner::Features(readout.len()) {
            bail!("{}: expected an end in {} features, found {last:?}", self.name, readout.len());
        }
        let mut g = buffers.take(self.n * readout.len());
        g.chunks_exact_mut(self.n).zip(readout).for_each(|(row, &value)| row.fill(value));
        let mut all = Vec::with_capacity(self.steps.len() + 1);
        for i in (0..self.steps.len()).rev() {
            self.before_activation(i, &mut g, None)?;
            let dx = self.layer_backward(i, &g, true, None)?;
            all.push(std::mem::replace(&mut g, dx.unwrap_or_else(|| buffers.take(0))));
        }
        all.push(g);
        all.reverse();
        Ok(all)
    }

    fn before_activation(&self, i: usize, g: &mut [f32], gradients: Option<Destination>) -> Result<()> {
        let (n, step, buffers) = (self.n, &self.steps[i], &self.shared.buffers);
        match (gradients, step.weight) {
            (Some((gradients, output)), Some(w)) => ops::write(&gradients[w + 1], |bias| {
                step.layer.before_activation(n, &step.output, g, Some((bias, output)), buffers);
            }),
            _ => {
                step.layer.before_activation(n, &step.output, g, None, buffers);
                Ok(())
            }
        }
    }

    /// The gradient for the input of layer `i`, if asked for.
    fn layer_backward(
        &self,
        i: usize,
        g: &[f32],
        input: bool,
        gradients: Option<Destination>,
    ) -> Result<Option<Buffer>> {
        let (n, step, buffers) = (self.n, &self.steps[i], &self.shared.buffers);
        let before = i.checked_sub(1).map(|i| &self.steps[i]);
        let (x, shape) = before.map_or((&self.input, self.shape), |step| (&step.output, step.layer.output));
        let mut dx = input.then(|| buffers.take(n * shape.size()));
        let weight = step.weight.map(|w| ops::values(&self.variables[w])).transpose()?;
        let state = Backward { x, kept: step.kept.as_deref(), weight: weight.as_deref().unwrap_or(&[]) };
        match (gradients, step.weight) {
            (Some((gradients, output)), Some(w)) => ops::write(&gradients[w], |weight| {
                step.layer.backward(n, state, g, Some((weight, output)), dx.as_deref_mut(), buffers);
            })?,
            _ => step.layer.backward(n, state, g, None, dx.as_deref_mut(), buffers),
        }
        Ok(dx)
    }
}

/// Columns of `values`, each times its factor.
fn scale_columns(values: &[f32], factors: &[f32], scaled: &mut [f32]) {
    let n = factors.len();
    for (to, from) in scaled.chunks_exact_mut(n).zip(values.chunks_exact(n)) {
        to.iter_mut().zip(from).zip(factors).for_each(|((to, from), factor)| *to = from * factor);
    }
}

/// Where the gradients of the weights go, one tensor for each variable, and whether they replace what is there.
pub(super) type Destination<'a> = (&'a [Var], Output);

/// Values `(N, H, W, C)` or `(N, features)` as they lie between layers.
pub(super) fn inward(n: usize, shape: Inner, values: &[f32], buffers: &Buffers) -> Buffer {
    let mut inside = buffers.take(values.len());
    match shape {
        Inner::Image(_, _, channels) => permute::batch_inside(n, channels, values, &mut inside),
        Inner::Features(_) => permute::transpose(n, values, &mut inside),
    }
    inside
}

/// The inverse of [`inward`], with the shape that the values have.
pub(super) fn outward(n: usize, shape: Inner, values: &[f32]) -> (Vec<f32>, Shape) {
    let mut outside = vec![0.0; values.len()];
    match shape {
        Inner::Image(height, width, channels) => {
            permute::batch_outside(n, channels, values, &mut outside);
            (outside, Shape::from((n, height, width, channels)))
        }
        Inner::Features(features) => {
            permute::transpose(features, values, &mut outside);
            (outside, Shape::from((n, features)))
        }
    }
}

/// [`outward`] as a tensor.
fn tensor(n: usize, shape: Inner, values: &[f32]) -> Result<Tensor> {
    let (values, shape) = outward(n, shape, values);
    Tensor::from_vec(values, shape, &Device::Cpu)
}

/// A tape in candle's graph: its output, with a way back for gradients.
pub struct Node {
    pub tape: Arc<Tape>,
    /// Whether the weights get gradients.
    pub weights: bool,
    /// If there is one, the node is `output·readout`, `(N, 1)`.
    pub readout: Option<&'static [f32]>,
}

impl CustomOp2 for Node {
    fn name(&self) -> &'static str {
        self.tape.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        let (shape, values) = self.tape.last();
        let (values, shape) = outward(self.tape.n, shape, values);
        Ok(match self.readout {
            None => (CpuStorage::F32(values), shape),
            Some(readout) => {
                let dot = |row: &[f32]| row.iter().zip(readout).map(|(v, r)| v * r).sum();
                let values: Vec<f32> = values.chunks_exact(readout.len()).map(dot).collect();
                let shape = Shape::from((values.len(), 1));
                (CpuStorage::F32(values), shape)
            }
        })
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (tape, input) = (&self.tape, x.track_op());
        let backward = |gradients: Option<Destination>| match self.readout {
            None => tape.backward(gradient, input, gradients),
            Some(readout) => tape.backward_readout(readout, &ops::values(&gradient.contiguous()?)?, input, gradients),
        };
        let dx = if self.weights {
            tape.shared.gradients.fill(&tape.variables, |tensors, output| backward(Some((tensors, output))))?
        } else {
            backward(None)?
        };
        Ok((dx, None))
    }
}
