//! The trainer's own model.

use std::path::Path;

use anyhow::Result;
use candle_core::Device;
use unbraid::{Autoencoder, Code, ImageShape};
use unbraid_trainer::export;
use unbraid_trainer::model::{Autoencoder as _, F32Model};

pub struct Network(F32Model);

impl Network {
    /// Reads a model directory.
    pub fn open(folder: &Path) -> Result<Self> {
        let (config, weights) = export::read(folder)?;
        Ok(Network(F32Model::new(config.architecture, &weights, &Device::Cpu)?))
    }
}

/// Means and then log-variances as a code.
pub fn code(latents: usize, parameters: &[f32]) -> Result<Code> {
    let (means, log_vars) = parameters.split_at_checked(latents).unwrap_or((parameters, &[]));
    let mut code = Code::zeros(latents, 12, 8)?;
    for (latent, (mean, log_var)) in means.iter().zip(log_vars).enumerate() {
        code.set(latent, *mean)?;
        code.set_log_var(latent, *log_var)?;
    }
    Ok(code)
}

impl Autoencoder for Network {
    type Error = anyhow::Error;

    fn image(&self) -> ImageShape {
        let image = self.0.image();
        ImageShape { height: image.height, width: image.width, channels: image.channels }
    }

    fn latents(&self) -> usize {
        self.0.latents()
    }

    fn encode(&mut self, pixels: &[u8]) -> Result<Code> {
        let posterior = self.0.encode(pixels)?;
        code(self.latents(), &[posterior.mean, posterior.log_var].concat())
    }

    fn decode(&mut self, code: &Code, pixels: &mut [u8]) -> Result<()> {
        let latents: Vec<f32> = (0..code.latents()).map(|latent| code.mean(latent)).collect();
        pixels.copy_from_slice(&self.0.decode(&latents)?);
        Ok(())
    }
}
