//! Scale moved between the layers around an activation, so that its channels reach about as far: they share 256 steps, of which a
//! channel that stays small beside a great one would see only a few.
//!
//! Nagel et al. 2019 (arXiv 1906.04721, section 4.1): where f(s·x) = s·f(x) for s > 0, as a ReLU does,
//! W₂·f(W₁·x + b₁) = (W₂·S)·f(S⁻¹·W₁·x + S⁻¹·b₁) for a diagonal S. They choose S by both weights. Here each row of weights has a
//! scale of its own, which takes S⁻¹ at no cost; what S has to balance are the activation and the columns of W₂:
//! s = √(max|x| / max|w₂|), equation 4 of Xiao et al. 2022 (SmoothQuant, arXiv 2211.10438) with α = 0.5.

use super::lower::FloatLayer;
use crate::model::Activation;

/// Channels that reach, or weigh, less than this share of the greatest one count as if they reached so far: what no data moves
/// tells nothing, and multipliers share their shift.
const LEAST_SHARE: f32 = 1.0 / 1024.0;

/// Equalizes the channels between layers with weights, for outputs of layer i that reach `reaches[i]`, max|x| of each channel. What
/// channels are divided by goes into [`FloatLayer::divisors`].
pub fn equalize(layers: &mut [FloatLayer], reaches: &[Vec<f32>]) {
    // From the back, so that a row whose columns are looked at has its own scale already.
    for first in (0..layers.len()).rev() {
        let behind = (first + 1..layers.len()).find(|&i| layers[i].has_weights());
        let (Some(second), true) = (behind, is_scalable(&layers[first])) else { continue };
        let divisors = balance(&reaches[first], &columns(&layers[second]));
        let FloatLayer { rows, bias, .. } = &mut layers[first];
        for ((row, bias), s) in rows.iter_mut().zip(bias).zip(divisors.iter().cycle()) {
            row.iter_mut().for_each(|w| *w /= s);
            *bias /= s;
        }
        for row in &mut layers[second].rows {
            row.iter_mut().zip(divisors.iter().cycle()).for_each(|(w, s)| *w *= s);
        }
        // Pooling and upsampling pass the channels on as they are.
        layers[first..second].iter_mut().for_each(|layer| layer.divisors.clone_from(&divisors));
    }
}

/// Whether f(s·x) = s·f(x) for what the layer computes.
fn is_scalable(layer: &FloatLayer) -> bool {
    let f = layer.activation;
    layer.has_weights() && matches!(f, Activation::Identity | Activation::Relu | Activation::LeakyRelu(_))
}

/// max|w| over the weights that each input channel meets.
fn columns(layer: &FloatLayer) -> Vec<f32> {
    let mut greatest = vec![0.0_f32; layer.input.channels];
    for row in &layer.rows {
        row.chunks(greatest.len()).for_each(|tap| {
            greatest.iter_mut().zip(tap).for_each(|(greatest, w)| *greatest = greatest.max(w.abs()));
        });
    }
    greatest
}

/// s of each channel.
fn balance(reach: &[f32], columns: &[f32]) -> Vec<f32> {
    let greatest = |values: &[f32]| values.iter().copied().fold(0.0, f32::max);
    let (far, heavy) = (greatest(reach), greatest(columns));
    if far == 0.0 || heavy == 0.0 {
        return vec![1.0; reach.len()];
    }
    let s = |(x, w): (&f32, &f32)| (x.max(far * LEAST_SHARE) / w.max(heavy * LEAST_SHARE)).sqrt();
    reach.iter().zip(columns).map(s).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use candle_core::{Device, Tensor};

    use super::{super::lower::Kind, *};
    use crate::{
        data,
        model::{Architecture, F32Model, ImageShape, Layer, Padding, PixelOutput, Window},
        nn::Init,
        quantize::{Options, quantize},
    };

    const RELU: Activation = Activation::Relu;
    const LEAKY: Activation = Activation::LeakyRelu(0.25);
    const NONE: Activation = Activation::Identity;

    /// Pooling and upsampling between layers of four channels.
    fn architecture() -> Architecture {
        let linear = |in_features, out_features, activation| Layer::Linear { in_features, out_features, activation };
        let four = Window::square(4, 4, 0);
        Architecture {
            name: "pooling".into(),
            image: ImageShape { channels: 1, height: 64, width: 64 },
            latents: 3,
            encoder: vec![
                Layer::conv2d(1, 4, four, LEAKY),
                Layer::MaxPool { kernel: [2, 2], stride: [2, 2], padding: Padding::default() },
                Layer::conv2d(4, 4, Window::square(2, 2, 0), RELU),
                Layer::Flatten,
                linear(64, 6, NONE),
            ],
            decoder: vec![
                linear(3, 64, RELU),
                Layer::Unflatten { channels: 4, height: 4, width: 4 },
                Layer::UpsampleNearest { factor: [4, 4] },
                Layer::conv_transpose2d(4, 1, four, NONE),
            ],
            output: PixelOutput::Sigmoid,
        }
    }

    /// Multiplies `weights[name]` by `factor(c)` at each index c of dimension `dim`, which counts channels of `block` values each.
    fn scale(
        weights: &mut BTreeMap<String, Tensor>,
        name: &str,
        dim: usize,
        block: usize,
        factor: impl Fn(usize) -> f32,
    ) {
        let tensor = &weights[name];
        let factors: Vec<f32> = (0..tensor.dims()[dim]).map(|i| factor(i / block)).collect();
        let mut shape = vec![1; tensor.rank()];
        shape[dim] = factors.len();
        let scaled = tensor.broadcast_mul(&Tensor::from_vec(factors, shape, &Device::Cpu).unwrap()).unwrap();
        weights.insert(name.into(), scaled);
    }

    #[test]
    fn networks_that_differ_in_their_channels_scales_become_the_same_bytes() {
        let model = F32Model::untrained(architecture(), Init::He, 1, &Device::Cpu).unwrap();
        // Powers of 4, whose square roots are exact.
        let up = |c: usize| [4.0, 0.25, 1.0, 16.0][c];
        let down = |c: usize| 1.0 / up(c);
        let mut weights = model.weights();
        for (first, second, dim, block) in [
            ("encoder.0", "encoder.2", 1, 1),
            // A feature of the linear layers for each of 16 pixels.
            ("encoder.2", "encoder.4", 1, 16),
            ("decoder.0", "decoder.3", 0, 1),
        ] {
            let of_first = if first == "decoder.0" { 16 } else { 1 };
            scale(&mut weights, &format!("{first}.weight"), 0, of_first, up);
            scale(&mut weights, &format!("{first}.bias"), 0, of_first, up);
            scale(&mut weights, &format!("{second}.weight"), dim, block, down);
        }
        let scaled = F32Model::new(architecture(), &weights, &Device::Cpu).unwrap();

        let sprites = data::open("sprites").unwrap();
        let bytes = |model: &F32Model, equalize| {
            let options = Options { images: 16, equalize, ..Options::default() };
            quantize(model, Some(&*sprites), &[], BTreeMap::new(), &options).unwrap()
        };
        assert!(bytes(&model, true) == bytes(&scaled, true));
        assert!(bytes(&model, false) != bytes(&scaled, false));
    }

    /// Two inputs, two outputs.
    fn layer(activation: Activation, index: usize) -> FloatLayer {
        let image = ImageShape { channels: 2, height: 1, width: 1 };
        FloatLayer {
            kind: Kind::Linear,
            input: image,
            output: image,
            rows: vec![vec![1.0, -2.0], vec![0.5, 0.0]],
            bias: vec![1.0, -1.0],
            activation,
            divisors: vec![1.0; 2],
            index,
        }
    }

    #[test]
    fn an_activation_and_the_weights_behind_it_come_to_reach_alike() {
        let mut layers = vec![layer(RELU, 0), layer(NONE, 1)];
        equalize(&mut layers, &[vec![9.0, 0.5], vec![1.0, 1.0]]);
        assert_eq!(layers[0].divisors, [3.0, 0.5]);
        assert_eq!(layers[0].rows, [[1.0 / 3.0, -2.0 / 3.0], [1.0, 0.0]]);
        assert_eq!(layers[0].bias, [1.0 / 3.0, -2.0]);
        assert_eq!(layers[1].rows, [[3.0, -1.0], [1.5, 0.0]]);
        assert_eq!((&layers[1].bias, &layers[1].divisors), (&vec![1.0, -1.0], &vec![1.0, 1.0]));
    }

    #[test]
    fn activations_that_scaling_would_change_are_left_alone() {
        for activation in [Activation::Clip { min: 0.0, max: 6.0 }, Activation::Tanh, Activation::Elu(1.0)] {
            let mut layers = vec![layer(activation, 0), layer(NONE, 1)];
            equalize(&mut layers, &[vec![9.0, 0.5], vec![1.0, 1.0]]);
            assert!(layers.iter().all(|l| l.divisors == [1.0, 1.0] && l.rows == layer(NONE, 0).rows), "{activation:?}");
        }
    }

    #[test]
    fn channels_that_data_or_weights_say_nothing_about_stay_finite() {
        assert_eq!(balance(&[0.0, 4.0], &[1.0, 1.0]), [0.0625, 2.0]);
        assert_eq!(balance(&[1.0, 1.0], &[0.0, 4.0]), [16.0, 0.5]);
        assert_eq!(balance(&[0.0, 0.0], &[1.0, 1.0]), [1.0, 1.0]);
        assert_eq!(balance(&[1.0, 1.0], &[0.0, 0.0]), [1.0, 1.0]);
    }
}
