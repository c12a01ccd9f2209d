//! ONNX bytes run through [tract](https://github.com/sonos/tract) and compared with what candle gives.

use std::path::Path;

use candle_core::{Device, Tensor};
use tract_onnx::prelude::{DatumExt, Framework, InferenceModelExt, IntoRunnable, TractResult, tvec};

use crate::{
    Error, Result,
    model::{Autoencoder, F32Model, ImageShape, PixelOutput},
    nn::{to_channels_first, to_channels_last},
    rng::{self, Purpose},
};

/// The largest difference between two f32 runtimes that is still rounding: outputs are pixels from 0 to 1, means and
/// log-variances.
pub const LIMIT: f32 = 1e-4;

/// Runs the ONNX model `bytes` on one `input`, whose first dimension is the batch; the outputs in the file's order.
///
/// # Errors
/// tract does not take the file or the input.
pub fn run(bytes: &[u8], input: &Tensor) -> Result<Vec<Tensor>> {
    let values = input.flatten_all()?.to_vec1::<f32>()?;
    let outputs = run_tract(bytes, input.dims(), &values).map_err(|e| Error::Unsupported(format!("tract: {e:#}")))?;
    outputs.into_iter().map(|(shape, values)| Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)).collect()
}

fn run_tract(mut bytes: &[u8], shape: &[usize], values: &[f32]) -> TractResult<Vec<(Vec<usize>, Vec<f32>)>> {
    // tract does not optimize quantized networks of a free batch size.
    let model = tract_onnx::onnx().model_for_read(&mut bytes)?.with_input_fact(0, f32::fact(shape).into())?;
    let model = model.into_optimized()?.into_runnable()?;
    let input = tract_onnx::prelude::Tensor::from_shape(shape, values)?;
    let outputs = model.run(tvec!(input.into()))?;
    outputs.iter().map(|o| Ok((o.shape().to_vec(), o.try_as_plain_ram()?.as_slice::<f32>()?.to_vec()))).collect()
}

/// The largest absolute difference between two lists of tensors; infinite where either is not a number.
///
/// # Errors
/// The lists differ in length or in a shape.
pub fn max_difference(found: &[Tensor], expected: &[Tensor]) -> Result<f32> {
    let shapes = |tensors: &[Tensor]| tensors.iter().map(|t| t.dims().to_vec()).collect::<Vec<_>>();
    if shapes(found) != shapes(expected) {
        let (found, expected) = (shapes(found), shapes(expected));
        return Err(Error::Unsupported(format!("ONNX outputs: found shapes {found:?}, expected {expected:?}")));
    }
    let mut largest = 0.0_f32;
    for (found, expected) in found.iter().zip(expected) {
        let values = |t: &Tensor| t.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>();
        for (a, b) in values(found)?.iter().zip(values(expected)?) {
            let difference = (a - b).abs();
            largest = largest.max(if difference.is_nan() { f32::INFINITY } else { difference });
        }
    }
    Ok(largest)
}

/// Runs the ONNX model `bytes` on `input` and returns the largest difference to `expected`, candle's outputs.
///
/// # Errors
/// The difference is above [`LIMIT`], or tract does not take the file.
pub fn check(bytes: &[u8], input: &Tensor, expected: &[Tensor]) -> Result<f32> {
    let difference = max_difference(&run(bytes, input)?, expected)?;
    if difference > LIMIT {
        return Err(Error::Unsupported(format!(
            "the exported ONNX model differs from the trained one: found a difference of {difference:e}, expected at \
             most {LIMIT:e}"
        )));
    }
    Ok(difference)
}

/// Checks `encoder.onnx` and `decoder.onnx` of the model directory `dir` against its weights in candle, on random images and
/// latents; returns the largest difference of each, none where there is no such network.
///
/// # Errors
/// A file is missing or damaged, or as [`check`].
pub fn check_directory(dir: &Path) -> Result<[Option<f32>; 2]> {
    let (config, weights) = super::read(dir)?;
    let model = F32Model::new(config.architecture, &weights, &Device::Cpu)?;
    let read = |name: &str| std::fs::read(dir.join(name)).map_err(Error::io(dir.join(name)));
    let mut rng = rng::stream(0, Purpose::Report, 0);
    let ImageShape { channels, height, width } = model.image();
    let latents = model.latents();

    let pixels = rng::normals(&mut rng, 3 * model.image().size()).into_iter().map(|v| v.abs().min(1.0)).collect();
    let images = Tensor::from_vec(pixels, (3, channels, height, width), &Device::Cpu)?;
    let codes = Tensor::from_vec(rng::normals(&mut rng, 3 * latents), (3, latents), &Device::Cpu)?;
    let encoder = || {
        let code = model.encoder().forward_frozen(&to_channels_last(&images)?)?;
        check(&read("encoder.onnx")?, &images, &code.chunk(2, 1)?)
    };
    let decoder = || {
        let last = model.decoder().forward_frozen(&codes)?;
        let pixels = match model.architecture().output {
            PixelOutput::Sigmoid => candle_nn::ops::sigmoid(&last)?,
            PixelOutput::Linear => last.clamp(0.0, 1.0)?,
        };
        check(&read("decoder.onnx")?, &codes, &[to_channels_first(&pixels)?])
    };
    Ok([model.has_encoder().then(encoder).transpose()?, model.has_decoder().then(decoder).transpose()?])
}
