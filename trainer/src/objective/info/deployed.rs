//! Q and G as an ordinary encoder and decoder.
//!
//! All that follows training takes latents for samples of a prior with mean 0 and variance 1, of which the encoder knows the
//! posterior's means and log-variances. Codes become such latents by linear maps of the last layer of Q and the first one of G:
//!
//! - A continuous code c from U(-1, 1) is the latent √3·c, which has variance 1. One that Q cannot read off images has Q's variance
//!   1/3, so that the latent's KL to the prior is 0.
//! - A categorical code is as many latents as it has classes, one-hot when decoded. Q's logits are encoded on that scale: centered, so
//!   that they sum to 1, and a logit [`MARGIN`] nats above equal others is 1 above them. The greatest latent is the most probable
//!   class. The variance is no output of Q, but [`CLASS_VARIANCE`].
//! - The noise is the same for all images, a draw of the run's seed, and goes into the bias of G's first layer.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor, Var};

use super::{CodeVariance, InfoNetworks};
use crate::{Error, Result, model::Layer, nn::Network};

/// By how many nats the logit of a certain class is above the others.
pub const MARGIN: f64 = 10.0;
/// The encoded variance of each dimension of a categorical code.
pub const CLASS_VARIANCE: f64 = 0.01;

impl InfoNetworks {
    /// Encoder and decoder with the weights as they are now.
    pub fn deployed(&self) -> Result<(Network, Network)> {
        Ok((self.encoder()?, self.decoder()?))
    }

    /// Q, its outputs as means and log-variances of latents.
    fn encoder(&self) -> Result<Network> {
        let (codes, latents) = (&self.codes, self.codes.latents());
        // Row by row the latents' parameters out of Q's outputs, of which D's is the last: outputs·map + constants.
        let columns = 2 * latents + 1;
        let mut map = vec![0.0; 2 * latents * columns];
        let mut constants = vec![0.0; 2 * latents];
        for code in 0..codes.continuous {
            let log_var = latents + code;
            map[code * columns + code] = 3_f64.sqrt();
            map[log_var * columns + log_var] = f64::from(u8::from(codes.variance == CodeVariance::Learned));
            constants[log_var] = 3_f64.ln();
        }
        for dimensions in codes.one_hot() {
            let classes = dimensions.len() as f64;
            for row in dimensions.clone() {
                for column in dimensions.clone() {
                    map[row * columns + column] = (f64::from(u8::from(row == column)) - 1.0 / classes) / MARGIN;
                }
                constants[row] = 1.0 / classes;
                constants[latents + row] = CLASS_VARIANCE.ln();
            }
        }
        let map = Tensor::from_vec(map, (2 * latents, columns), &self.device)?;
        let constants = Tensor::from_vec(constants, 2 * latents, &self.device)?;
        let layers = &self.architecture.encoder;
        self.renamed("encoder", layers, &self.critic, layers.len().saturating_sub(1), |weight, bias| {
            let bias = (map.matmul(&bias.unsqueeze(1)?)?.squeeze(1)? + &constants)?;
            Ok((map.matmul(weight)?, bias))
        })
    }

    /// G with fixed noise.
    fn decoder(&self) -> Result<Network> {
        let (codes, latents) = (&self.codes, self.codes.latents());
        let scale = |code| if code < codes.continuous { 3_f64.sqrt().recip() } else { 1.0 };
        let scales = Tensor::from_vec((0..latents).map(scale).collect(), (1, latents), &self.device)?;
        let noise = codes.deployed_noise(self.seed).into_iter().map(f64::from).collect();
        let noise = Tensor::from_vec::<_, f64>(noise, (codes.noise, 1), &self.device)?;
        self.renamed("decoder", &self.architecture.decoder, &self.generator, 0, |weight, bias| {
            let of_codes = weight.narrow(1, 0, latents)?.broadcast_mul(&scales)?;
            let of_noise = match codes.noise {
                0 => bias.zeros_like()?,
                noises => weight.narrow(1, latents, noises)?.contiguous()?.matmul(&noise)?.squeeze(1)?,
            };
            Ok((of_codes, (bias + of_noise)?))
        })
    }

    /// The weights of `network` in one called `name` with `layers`, those of layer `changed` through `change`, which computes in f64.
    fn renamed(
        &self,
        name: &'static str,
        layers: &[Layer],
        network: &Network,
        changed: usize,
        change: impl Fn(&Tensor, &Tensor) -> candle_core::Result<(Tensor, Tensor)>,
    ) -> Result<Network> {
        let weights: BTreeMap<String, Var> = network.variables().into_iter().collect();
        let find = |tensor: &str| {
            let full = format!("{}.{changed}.{tensor}", network.name());
            let var = weights.get(&full).ok_or_else(|| Error::Unsupported(format!("{full} is missing")))?;
            Ok::<_, Error>(var.as_detached_tensor().to_dtype(DType::F64)?)
        };
        let (weight, bias) = change(&find("weight")?, &find("bias")?)?;
        let mut renamed: BTreeMap<String, Tensor> = weights
            .iter()
            .map(|(full, var)| (full.replacen(network.name(), name, 1), var.as_detached_tensor()))
            .collect();
        renamed.insert(format!("{name}.{changed}.weight"), weight.to_dtype(DType::F32)?.contiguous()?);
        renamed.insert(format!("{name}.{changed}.bias"), bias.to_dtype(DType::F32)?);
        Network::from_tensors(name, layers, &renamed, &self.device)
    }
}
