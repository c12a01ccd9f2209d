//! f32 `encoder.onnx` and `decoder.onnx`, run by [tract](https://github.com/sonos/tract), behind [`Autoencoder`].
//!
//! The pair that `unbraid train` and `unbraid export` write: `image` `(1, C, H, W)`, from 0 to 1, to `mean` and `log_var`,
//! each `(1, L)`; `latent` `(1, L)` to `image`. Other batch sizes that a file allows are not used.

use std::format;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::string::{String, ToString};
use std::sync::Arc;
use std::vec::Vec;

use tract_onnx::prelude::{
    Datum, Framework, InferenceFact, InferenceModelExt, IntoRunnable, TVec, Tensor, TractError, TractResult,
    TypedRunnableModel,
};
use tract_onnx::tract_hir::infer::Factoid;
use tract_onnx::tract_hir::internal::DimLike;

use crate::autoencoder::Autoencoder;
use crate::code::{Code, CodeError};
use crate::error::RunError;
use crate::format::{MAX_IMAGE_CHANNELS, MAX_LATENTS, MAX_SIDE};
use crate::layer::ImageShape;

/// Fraction bits of the means of a code: ±8 in steps of 1/4096.
const MEAN_BITS: u8 = 12;
/// Fraction bits of the log-variances of a code: ±128 in steps of 1/256.
const LOG_VAR_BITS: u8 = 8;

/// Why a pair of ONNX files cannot be used, or did not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// A file cannot be read.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not an ONNX model, or has operations that tract does not know.
    #[error("{path}: not an ONNX model that tract can run: {message}", path = path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// What tract said.
        message: String,
    },
    /// A model lacks an input or output.
    #[error("{path}: no {what}, found {found:?}", path = path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The input or output.
        what: String,
        /// Those that there are.
        found: Vec<String>,
    },
    /// An input or output has another shape.
    #[error("{path}: {what} has shape {found}, expected {expected}", path = path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The input or output.
        what: String,
        /// Its shape.
        found: String,
        /// What is allowed.
        expected: String,
    },
    /// Running a model failed.
    #[error("{path}: {message}", path = path.display())]
    Run {
        /// The file.
        path: PathBuf,
        /// What tract said.
        message: String,
    },
    /// A model gave NaN.
    #[error("{path}: element {index} of output {name:?} is NaN", path = path.display())]
    NotANumber {
        /// The file.
        path: PathBuf,
        /// The output.
        name: &'static str,
        /// The element.
        index: usize,
    },
    /// A buffer or code has the wrong size.
    #[error(transparent)]
    Size(#[from] RunError),
    /// A code cannot hold the latents.
    #[error(transparent)]
    Code(#[from] CodeError),
}

/// An encoder and a decoder in f32.
#[derive(Debug, Clone)]
pub struct OnnxAutoencoder {
    encoder: Network<2>,
    decoder: Network<1>,
    image: ImageShape,
    /// A code of the right size.
    zeros: Code,
}

impl OnnxAutoencoder {
    /// Reads and optimizes both files.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, is no ONNX model, or has other inputs or outputs; if the two do not fit each other.
    pub fn open(encoder: &Path, decoder: &Path) -> Result<OnnxAutoencoder, OnnxError> {
        let sides = [MAX_IMAGE_CHANNELS, MAX_SIDE, MAX_SIDE];
        let (encoder, image) = Network::open(encoder, "image", ["mean", "log_var"], sides)?;
        let (decoder, [latents]) = Network::open(decoder, "latent", ["image"], [MAX_LATENTS])?;
        let [channels, height, width] = image;
        encoder.check_outputs(&[1, latents], "the decoder's latents")?;
        decoder.check_outputs(&[1, channels, height, width], "the encoder's image")?;
        let zeros = Code::zeros(latents, MEAN_BITS, LOG_VAR_BITS)?;
        let image = ImageShape { height, width, channels };
        Ok(OnnxAutoencoder { encoder, decoder, image, zeros })
    }

    /// The prior's mean: all means and log-variances 0.
    pub fn zeros(&self) -> Code {
        self.zeros
    }

    /// Refuses a buffer that is not a whole image.
    fn check_size(&self, pixels: &[u8]) -> Result<(), RunError> {
        let (expected, found) = (self.image.len(), pixels.len());
        if found == expected { Ok(()) } else { Err(RunError::ImageSize { expected, found }) }
    }
}

impl Autoencoder for OnnxAutoencoder {
    type Error = OnnxError;

    fn image(&self) -> ImageShape {
        self.image
    }

    fn latents(&self) -> usize {
        self.zeros.latents()
    }

    fn encode(&mut self, pixels: &[u8]) -> Result<Code, OnnxError> {
        self.check_size(pixels)?;
        let ImageShape { height, width, channels } = self.image;
        // (H, W, C) bytes to (C, H, W) from 0 to 1.
        let mut input = Vec::with_capacity(pixels.len());
        for channel in 0..channels {
            input.extend(pixels.iter().skip(channel).step_by(channels).map(|pixel| f32::from(*pixel) / 255.0));
        }
        let [means, log_vars] = self.encoder.run(&[1, channels, height, width], &input)?;
        let mut code = self.zeros;
        for (latent, (mean, log_var)) in means.into_iter().zip(log_vars).enumerate() {
            code.set(latent, mean)?;
            code.set_log_var(latent, log_var)?;
        }
        Ok(code)
    }

    fn decode(&mut self, code: &Code, pixels: &mut [u8]) -> Result<(), OnnxError> {
        self.check_size(pixels)?;
        let (expected, found) = (self.latents(), code.latents());
        if found != expected {
            return Err(RunError::Latents { expected, found }.into());
        }
        let latents: Vec<f32> = (0..found).map(|latent| code.mean(latent)).collect();
        let [image] = self.decoder.run(&[1, found], &latents)?;
        let channels = self.image.channels;
        for (channel, plane) in image.chunks(self.image.height * self.image.width).enumerate() {
            for (to, value) in pixels.iter_mut().skip(channel).step_by(channels).zip(plane) {
                // Saturates outside 0 to 255.
                *to = (255.0 * value).round() as u8;
            }
        }
        Ok(())
    }
}

/// A model with one input and `N` outputs, batch size 1.
#[derive(Debug, Clone)]
struct Network<const N: usize> {
    path: PathBuf,
    plan: Arc<TypedRunnableModel>,
    outputs: [&'static str; N],
}

impl<const N: usize> Network<N> {
    /// Reads a model; returns it with its input's shape, the batch left out, each size at most its limit.
    fn open<const D: usize>(
        path: &Path,
        input: &str,
        outputs: [&'static str; N],
        limits: [usize; D],
    ) -> Result<(Self, [usize; D]), OnnxError> {
        let bytes = fs::read(path).map_err(|source| OnnxError::File { path: path.into(), source })?;
        let refused = |error| not_a_model(path, error);
        let mut model = tract_onnx::onnx().model_for_read(&mut bytes.as_slice()).map_err(refused)?;

        let missing = |what: String, found| Err(OnnxError::Missing { path: path.into(), what, found });
        let found: Vec<String> = model.inputs.iter().map(|outlet| model.node(outlet.node).name.clone()).collect();
        if found != [input] {
            return missing(format!("single input {input:?}"), found);
        }
        let labels = model.outputs.iter().map(|outlet| model.outlet_label(*outlet).unwrap_or_default().to_string());
        let found: Vec<String> = labels.collect();
        if found != outputs {
            return missing(format!("outputs {outputs:?}"), found);
        }

        // The batch is free or 1; the other sizes have to be known.
        let declared = model.input_fact(0).map_err(refused)?.shape.clone();
        let sizes = declared.dims().skip(1).map(|size| size.concretize()?.to_usize().ok());
        let shape = sizes.collect::<Option<Vec<usize>>>().and_then(|sizes| <[usize; D]>::try_from(sizes).ok());
        let fits = |shape: &[usize; D]| shape.iter().zip(limits).all(|(size, limit)| (1..=limit).contains(size));
        let Some(shape) = shape.filter(fits) else {
            let (what, found) = (format!("input {input:?}"), format!("{declared:?}"));
            let limits: Vec<String> = limits.iter().map(|limit| format!("1 to {limit}")).collect();
            let expected = format!("batch, {}", limits.join(", "));
            return Err(OnnxError::Shape { path: path.into(), what, found, expected });
        };
        let batch: Vec<usize> = [1].into_iter().chain(shape).collect();
        model.set_input_fact(0, InferenceFact::dt_shape(f32::datum_type(), batch)).map_err(refused)?;
        let plan = model.into_optimized().and_then(IntoRunnable::into_runnable).map_err(refused)?;
        Ok((Network { path: path.into(), plan, outputs }, shape))
    }

    /// Checks that all outputs have shape `expected`, which is that of `whose`.
    fn check_outputs(&self, expected: &[usize], whose: &str) -> Result<(), OnnxError> {
        for (index, name) in self.outputs.iter().enumerate() {
            let shape = &self.plan.model().output_fact(index).map_err(|error| not_a_model(&self.path, error))?.shape;
            if shape.as_concrete() != Some(expected) {
                let (what, found) = (format!("output {name:?}"), format!("{shape:?}"));
                let expected = format!("{expected:?}, {whose}");
                return Err(OnnxError::Shape { path: self.path.clone(), what, found, expected });
            }
        }
        Ok(())
    }

    /// The outputs' elements.
    fn run(&self, shape: &[usize], input: &[f32]) -> Result<[Vec<f32>; N], OnnxError> {
        let outputs = self
            .try_run(shape, input)
            .map_err(|error| OnnxError::Run { path: self.path.clone(), message: format!("{error:#}") })?;
        for (name, values) in self.outputs.into_iter().zip(&outputs) {
            if let Some(index) = values.iter().position(|value| value.is_nan()) {
                return Err(OnnxError::NotANumber { path: self.path.clone(), name, index });
            }
        }
        outputs.try_into().map_err(|outputs: Vec<_>| OnnxError::Run {
            path: self.path.clone(),
            message: format!("{} outputs, expected {N}", outputs.len()),
        })
    }

    fn try_run(&self, shape: &[usize], input: &[f32]) -> TractResult<Vec<Vec<f32>>> {
        let outputs = self.plan.run(TVec::from_elem(Tensor::from_shape(shape, input)?.into(), 1))?;
        outputs.iter().map(|output| Ok(output.try_as_plain_ram()?.as_slice::<f32>()?.to_vec())).collect()
    }
}

fn not_a_model(path: &Path, error: TractError) -> OnnxError {
    OnnxError::Model { path: path.into(), message: format!("{error:#}") }
}
