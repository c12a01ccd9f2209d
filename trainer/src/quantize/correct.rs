//! Biases of the encoder's last layer that take back what rounding shifts its outputs by on average.
//!
//! Empirical bias correction (Nagel et al. 2019, arXiv 1906.04721, section 4.2 and appendix D), of the outputs alone. Large areas of
//! one value, such as a black background, are rounded alike in every image; what that comes to over all layers is measured with the
//! runtime. A decoder has no such correction: its errors are at edges, which no average sees.

use std::path::Path;

use candle_core::Tensor;
use unbraid::writer::{FileSpec, LayerSpec};

use super::{integer::LOG_VAR_BITS, write};
use crate::{
    Result,
    model::{Autoencoder, Int8Model},
};

/// Moves the outputs' averages over `images`, bytes `(N, H, W, C)`, to those of `outputs`, `(N, 2·latents)`, which f32 makes of them.
///
/// # Errors
/// A number does not fit the format.
pub fn correct_outputs(spec: &mut FileSpec, images: &[u8], outputs: &Tensor) -> Result<()> {
    let int8 = Int8Model::new(write(spec)?, Path::new("int8 file"))?;
    let posterior = int8.encode(images)?;
    let expected = averages(&outputs.flatten_all()?.to_vec1()?, 2 * spec.latents);
    let found = [posterior.mean, posterior.log_var].map(|values| averages(&values, spec.latents)).concat();
    let bits = [spec.mean_bits, LOG_VAR_BITS].map(|bits| vec![bits; spec.latents]).concat();
    let Some(LayerSpec::Conv2d { parameters, .. } | LayerSpec::Linear { parameters, .. }) = spec.encoder.last_mut()
    else {
        return Ok(());
    };
    let channels = parameters.biases.iter_mut().zip(&parameters.multipliers);
    for (((bias, &multiplier), bits), (expected, found)) in channels.zip(bits).zip(expected.iter().zip(found)) {
        let steps = (expected - found) * 2_f64.powi(bits.into());
        let units = steps * 2_f64.powi(parameters.shift.into()) / f64::from(multiplier);
        // A multiplier of 0 leaves 0 of any sum.
        if units.is_finite() {
            *bias = bias.saturating_add(units.round() as i32);
        }
    }
    Ok(())
}

/// The average of each column of rows of `columns` values.
fn averages(values: &[f32], columns: usize) -> Vec<f64> {
    let rows = (values.len() / columns) as f64;
    (0..columns).map(|i| values.iter().skip(i).step_by(columns).map(|&v| f64::from(v)).sum::<f64>() / rows).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use candle_core::Device;

    use super::{
        super::{Options, calibration_images, quantize},
        *,
    };
    use crate::{
        data,
        model::{Architecture, F32Model},
        nn::Init,
    };

    #[test]
    fn averages_over_the_calibration_data_become_those_of_f32() {
        let architecture = Architecture::preset("factor-vae-64", 3).unwrap();
        let model = F32Model::untrained(architecture, Init::He, 2, &Device::Cpu).unwrap();
        let sprites = data::open("sprites").unwrap();
        let options = Options { images: 100, ..Options::default() };
        let images = calibration_images(&model, Some(&*sprites), &options).unwrap();
        let expected = model.encode(&images).unwrap();
        // The greatest difference of an average, in steps of what the runtime counts in.
        let error = |correct_bias| {
            let options = Options { correct_bias, ..options.clone() };
            let bytes = quantize(&model, Some(&*sprites), &[], BTreeMap::new(), &options).unwrap();
            let found = Int8Model::new(bytes, Path::new("int8 file")).unwrap().encode(&images).unwrap();
            let difference = |a: &[f32], b: &[f32], steps: f64| {
                let pairs = averages(a, 3).into_iter().zip(averages(b, 3));
                pairs.map(|(a, b)| steps * (a - b).abs()).fold(0.0, f64::max)
            };
            let means = difference(&expected.mean, &found.mean, 4096.0);
            means.max(difference(&expected.log_var, &found.log_var, 256.0))
        };
        assert!(error(false) > 1.0, "{}", error(false));
        assert!(error(true) < 0.3, "{}", error(true));
    }
}
