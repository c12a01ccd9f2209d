//! The textbook's networks, from the writer's input: zero points subtracted, transposed convolutions scattered.
//! Checks what the writer does: folding and phases.

use unbraid::Shape;
use unbraid::writer::{FileSpec, LayerSpec, OutputSpec, Parameters, Window};

use super::{Output, Tensor};

fn wide(values: &[i32]) -> Vec<i64> {
    values.iter().map(|value| i64::from(*value)).collect()
}

fn output(parameters: &Parameters) -> Output {
    let (kind, zero_point, minimum, maximum, table) = match &parameters.output {
        OutputSpec::Int8 { zero_point, minimum, maximum } => (0, *zero_point, *minimum, *maximum, vec![]),
        OutputSpec::Table { zero_point, table, .. } => {
            (0, *zero_point, -128, 127, table.iter().map(|entry| i64::from(*entry)).collect())
        }
        OutputSpec::Code => (1, 0, -128, 127, vec![]),
        OutputSpec::Pixels { table } => (2, 0, -128, 127, table.iter().map(|byte| i64::from(*byte)).collect()),
    };
    Output {
        kind,
        shift: parameters.shift.into(),
        multipliers: wide(&parameters.multipliers),
        negative_multipliers: parameters.negative_multipliers.as_deref().map(wide),
        zero_point: zero_point.into(),
        minimum: minimum.into(),
        maximum: maximum.into(),
        table,
    }
}

fn run(layer: &LayerSpec, x: &Tensor, zero_point: &mut i64) -> Tensor {
    let input_zero_point = *zero_point;
    let [height, width, channels] = x.shape;
    let shape = |shape: &Shape| [shape.height, shape.width, shape.channels];
    let value = |y: usize, x_: usize, c: usize| x.values[x.index(y, x_, c)] - input_zero_point;
    let place = |y: usize, k: usize, w: &Window, axis: usize| {
        usize::try_from((y * w.stride[axis] + k) as i64 - w.padding[axis] as i64).ok()
    };
    let (mut acc, parameters) = match layer {
        LayerSpec::Conv2d { window, output, parameters } => {
            let mut acc = Tensor::filled(shape(output), 0);
            for y in 0..output.height {
                for x_ in 0..output.width {
                    for o in 0..output.channels {
                        for ky in 0..window.kernel[0] {
                            for kx in 0..window.kernel[1] {
                                let inside = (place(y, ky, window, 0), place(x_, kx, window, 1));
                                let (Some(iy), Some(ix)) = inside else { continue };
                                if iy >= height || ix >= width {
                                    continue;
                                }
                                for c in 0..channels {
                                    let w = ((o * window.kernel[0] + ky) * window.kernel[1] + kx) * channels + c;
                                    let index = acc.index(y, x_, o);
                                    acc.values[index] += i64::from(parameters.weights[w]) * value(iy, ix, c);
                                }
                            }
                        }
                    }
                }
            }
            (acc, parameters)
        }
        LayerSpec::ConvTranspose2d { window, output, parameters } => {
            let mut acc = Tensor::filled(shape(output), 0);
            for y in 0..height {
                for x_ in 0..width {
                    for ky in 0..window.kernel[0] {
                        for kx in 0..window.kernel[1] {
                            let inside = (place(y, ky, window, 0), place(x_, kx, window, 1));
                            let (Some(oy), Some(ox)) = inside else { continue };
                            if oy >= output.height || ox >= output.width {
                                continue;
                            }
                            for o in 0..output.channels {
                                for c in 0..channels {
                                    let w = ((o * window.kernel[0] + ky) * window.kernel[1] + kx) * channels + c;
                                    let index = acc.index(oy, ox, o);
                                    acc.values[index] += i64::from(parameters.weights[w]) * value(y, x_, c);
                                }
                            }
                        }
                    }
                }
            }
            (acc, parameters)
        }
        LayerSpec::Linear { output, parameters } => {
            let mut acc = Tensor::filled(shape(output), 0);
            let n = x.values.len();
            for (o, acc) in acc.values.iter_mut().enumerate() {
                *acc =
                    (0..n).map(|i| i64::from(parameters.weights[o * n + i]) * (x.values[i] - input_zero_point)).sum();
            }
            (acc, parameters)
        }
        LayerSpec::UpsampleNearest { factor: [down, right] } => {
            let mut y = Tensor::filled([height * down, width * right, channels], 0);
            for (index, to) in y.values.iter_mut().enumerate() {
                let (pixel, c) = (index / channels, index % channels);
                let (oy, ox) = (pixel / (width * right), pixel % (width * right));
                *to = x.values[x.index(oy / down, ox / right, c)];
            }
            return y;
        }
        LayerSpec::MaxPool { window, output } => {
            let mut best = Tensor::filled([output[0], output[1], channels], i64::MIN);
            for y in 0..output[0] {
                for x_ in 0..output[1] {
                    for ky in 0..window.kernel[0] {
                        for kx in 0..window.kernel[1] {
                            let inside = (place(y, ky, window, 0), place(x_, kx, window, 1));
                            let (Some(iy), Some(ix)) = inside else { continue };
                            if iy >= height || ix >= width {
                                continue;
                            }
                            for c in 0..channels {
                                let index = best.index(y, x_, c);
                                best.values[index] = best.values[index].max(x.values[x.index(iy, ix, c)]);
                            }
                        }
                    }
                }
            }
            return best;
        }
    };
    let output = output(parameters);
    let outputs = parameters.biases.len();
    for (index, acc) in acc.values.iter_mut().enumerate() {
        let channel = index % outputs;
        *acc = output.apply(*acc + i64::from(parameters.biases[channel]), channel);
    }
    *zero_point = match parameters.output {
        OutputSpec::Table { table_zero_point, .. } => table_zero_point.into(),
        _ => output.zero_point,
    };
    acc
}

/// Means, then log-variances.
pub fn encode(spec: &FileSpec, pixels: &[u8]) -> Vec<i64> {
    let shape = [spec.image.height, spec.image.width, spec.image.channels];
    let image = Tensor { shape, values: pixels.iter().map(|pixel| i64::from(*pixel) - 128).collect() };
    let mut zero_point = -128;
    spec.encoder.iter().fold(image, |x, layer| run(layer, &x, &mut zero_point)).values
}

/// Pixels.
pub fn decode(spec: &FileSpec, latents: &[i16]) -> Vec<u8> {
    let values = latents.iter().map(|latent| i64::from(*latent)).collect();
    let code = Tensor { shape: [1, 1, spec.latents], values };
    let mut zero_point = 0;
    let image = spec.decoder.iter().fold(code, |x, layer| run(layer, &x, &mut zero_point));
    image.values.into_iter().map(|value| value as u8).collect()
}
