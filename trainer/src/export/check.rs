//! ONNX bytes run through [tract](https://github.com/sonos/tract) and compared with what candle gives.

use candle_core::{Device, Tensor};
use tract_onnx::prelude::{Framework, InferenceModelExt, IntoRunnable, TractResult, tvec};

use crate::{Error, Result};

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
    let model = tract_onnx::onnx().model_for_read(&mut bytes)?.into_optimized()?.into_runnable()?;
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
