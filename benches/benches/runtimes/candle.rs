//! The network in candle's own operations, `(N, C, H, W)`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use candle_core::{Device, Tensor};
use unbraid::{Autoencoder, Code, ImageShape};
use unbraid_trainer::export;
use unbraid_trainer::model::{Activation, Architecture, Layer, Window};

pub struct Network {
    architecture: Architecture,
    weights: BTreeMap<String, Tensor>,
}

impl Network {
    /// Reads a model directory.
    pub fn open(folder: &Path) -> Result<Self> {
        let (config, weights) = export::read(folder)?;
        Ok(Network { architecture: config.architecture, weights })
    }

    fn forward(&self, part: &str, layers: &[Layer], mut x: Tensor) -> Result<Tensor> {
        for (index, layer) in layers.iter().enumerate() {
            let tensor =
                |name: &str| self.weights.get(&format!("{part}.{index}.{name}")).context("a weight is missing");
            let channels = || anyhow::Ok(tensor("bias")?.reshape((1, (), 1, 1))?);
            // candle's windows are squares, the same on all sides.
            let square = layer.window().is_none_or(|w| w == Window::square(w.kernel[0], w.stride[0], w.padding.top));
            let y = match *layer {
                _ if !square => bail!("{layer:?} is not measured"),
                Layer::Conv2d { stride, padding, .. } => {
                    x.conv2d(tensor("weight")?, padding.top, stride[0], 1, 1)?.broadcast_add(&channels()?)?
                }
                Layer::ConvTranspose2d { stride, padding, .. } => {
                    let y = x.conv_transpose2d(tensor("weight")?, padding.top, 0, stride[0], 1)?;
                    y.broadcast_add(&channels()?)?
                }
                Layer::Linear { .. } => x.matmul(&tensor("weight")?.t()?)?.broadcast_add(tensor("bias")?)?,
                Layer::MaxPool { kernel, stride, .. } => x.max_pool2d_with_stride(kernel[0], stride[0])?,
                Layer::UpsampleNearest { factor } => {
                    x.upsample_nearest2d(x.dim(2)? * factor[0], x.dim(3)? * factor[1])?
                }
                Layer::Flatten => x.flatten_from(1)?,
                Layer::Unflatten { channels, height, width } => x.reshape((1, channels, height, width))?,
            };
            x = match layer.activation() {
                Activation::Identity => y,
                Activation::Relu => y.relu()?,
                Activation::Tanh => y.tanh()?,
                other => bail!("{other:?} is not measured"),
            };
        }
        Ok(x)
    }
}

impl Autoencoder for Network {
    type Error = anyhow::Error;

    fn image(&self) -> ImageShape {
        let image = self.architecture.image;
        ImageShape { height: image.height, width: image.width, channels: image.channels }
    }

    fn latents(&self) -> usize {
        self.architecture.latents
    }

    fn encode(&mut self, pixels: &[u8]) -> Result<Code> {
        let ImageShape { height, width, channels } = self.image();
        let floats: Vec<f32> = pixels.iter().map(|pixel| f32::from(*pixel) / 255.0).collect();
        let image = Tensor::from_vec(floats, (1, height, width, channels), &Device::Cpu)?.permute((0, 3, 1, 2))?;
        let parameters = self.forward("encoder", &self.architecture.encoder, image.contiguous()?)?;
        super::trainer::code(self.latents(), &parameters.flatten_all()?.to_vec1::<f32>()?)
    }

    fn decode(&mut self, code: &Code, pixels: &mut [u8]) -> Result<()> {
        let latents: Vec<f32> = (0..code.latents()).map(|latent| code.mean(latent)).collect();
        let latents = Tensor::from_vec(latents, (1, code.latents()), &Device::Cpu)?;
        let logits = self.forward("decoder", &self.architecture.decoder, latents)?;
        let image = ((logits.neg()?.exp()? + 1.0)?.recip()? * 255.0)?.permute((0, 2, 3, 1))?;
        for (to, value) in pixels.iter_mut().zip(image.flatten_all()?.to_vec1::<f32>()?) {
            *to = value.round() as u8;
        }
        Ok(())
    }
}
