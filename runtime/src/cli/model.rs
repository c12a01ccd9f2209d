//! Opens a model: an int8 file or, with feature `onnx`, a folder with `encoder.onnx` and `decoder.onnx`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use safetensors::SafeTensors;
use unbraid::{Autoencoder, Code, Factor, ImageShape, Int8, LoadError, Model, Packed, RunError};

/// The useful range of a latent of which nothing is known: two standard deviations of the prior each way.
const UNKNOWN_RANGE: f32 = 2.0;

/// A model and its factors. What they borrow lives as long as the process, which opens one model.
pub struct Opened {
    network: Network,
    /// A code of zeros.
    zeros: Code,
    factors: Vec<Factor<'static>>,
}

enum Network {
    /// Rearranged for this machine, or in place where that would take too much memory.
    Int8(Box<dyn Autoencoder<Error = RunError>>),
    #[cfg(feature = "onnx")]
    Onnx(Box<unbraid::onnx::OnnxAutoencoder>),
}

impl Opened {
    /// Opens the model at `path`.
    pub fn new(path: &Path) -> Result<Self> {
        if path.is_dir() {
            return open_folder(path);
        }
        let (_, model) = load(path)?;
        let int8: Box<dyn Autoencoder<Error = RunError>> = match Packed::new(&model) {
            Ok(packed) => Box::new(packed),
            Err(_) => Box::new(Int8::new(model, arena(&model).with_context(|| path.display().to_string())?)?),
        };
        Ok(Opened { network: Network::Int8(int8), zeros: Code::new(&model), factors: model.factors().collect() })
    }

    /// The named latents, the most important first.
    pub fn factors(&self) -> &[Factor<'static>] {
        &self.factors
    }

    /// The factor that a latent carries.
    pub fn factor_of(&self, latent: usize) -> Option<Factor<'static>> {
        self.factors.iter().copied().find(|factor| factor.latent == latent)
    }

    /// All latents in the order of tables: the named ones, the most important first, then the others.
    pub fn latents_in_order(&self) -> impl Iterator<Item = usize> {
        let others = (0..self.latents()).filter(|latent| self.factor_of(*latent).is_none());
        self.factors.iter().map(|factor| factor.latent).chain(others)
    }

    /// The latent that a factor's name, `z3` or `3` stands for; names come first.
    pub fn latent(&self, text: &str) -> Result<usize> {
        if let Some(factor) = self.factors.iter().find(|factor| factor.name == text) {
            return Ok(factor.latent);
        }
        let number = text.strip_prefix('z').unwrap_or(text);
        let last = self.latents().saturating_sub(1);
        match number.parse::<usize>() {
            Ok(latent) if latent <= last => Ok(latent),
            Ok(latent) => bail!("there is no latent {latent}; the model has z0 to z{last}"),
            Err(_) => {
                let names: Vec<_> = self.factors.iter().map(|factor| factor.name).collect();
                let names = if names.is_empty() { String::new() } else { format!("{} or ", names.join(", ")) };
                bail!("there is no factor {text:?}; the model has {names}the latents z0 to z{last}")
            }
        }
    }

    /// How a latent is called in messages: `rotation (z3)`, or `z3` where it has no other name.
    pub fn label(&self, latent: usize) -> String {
        let plain = format!("z{latent}");
        match self.factor_of(latent) {
            Some(factor) if factor.name != plain => format!("{} ({plain})", factor.name),
            _ => plain,
        }
    }

    /// The low and high end of a latent's useful range.
    pub fn range(&self, latent: usize) -> (f32, f32) {
        self.factor_of(latent).map_or((-UNKNOWN_RANGE, UNKNOWN_RANGE), |factor| (factor.low, factor.high))
    }

    /// A neutral code: every factor at its center, the other latents at 0.
    pub fn center(&self) -> Result<Code> {
        self.factors.iter().try_fold(self.zeros, |code, factor| Ok(code.with(factor, factor.center)?))
    }

    /// [`Autoencoder::decode`] into new pixels, `(H, W, C)`.
    pub fn picture(&mut self, code: &Code) -> Result<Vec<u8>> {
        let mut pixels = vec![0; self.image().len()];
        self.decode(code, &mut pixels)?;
        Ok(pixels)
    }
}

impl Autoencoder for Opened {
    type Error = anyhow::Error;

    fn image(&self) -> ImageShape {
        match &self.network {
            Network::Int8(int8) => int8.image(),
            #[cfg(feature = "onnx")]
            Network::Onnx(onnx) => onnx.image(),
        }
    }

    fn latents(&self) -> usize {
        match &self.network {
            Network::Int8(int8) => int8.latents(),
            #[cfg(feature = "onnx")]
            Network::Onnx(onnx) => onnx.latents(),
        }
    }

    fn encode(&mut self, pixels: &[u8]) -> Result<Code> {
        match &mut self.network {
            Network::Int8(int8) => Ok(int8.encode(pixels)?),
            #[cfg(feature = "onnx")]
            Network::Onnx(onnx) => Ok(onnx.encode(pixels)?),
        }
    }

    fn decode(&mut self, code: &Code, pixels: &mut [u8]) -> Result<()> {
        match &mut self.network {
            Network::Int8(int8) => Ok(int8.decode(code, pixels)?),
            #[cfg(feature = "onnx")]
            Network::Onnx(onnx) => Ok(onnx.decode(code, pixels)?),
        }
    }
}

/// Reads and checks an int8 file.
pub fn load(path: &Path) -> Result<(&'static [u8], Model<'static>)> {
    let name = path.display();
    if path.is_dir() {
        bail!("{name}: a folder; this command takes the int8 file that `unbraid quantize` makes");
    }
    let file: &[u8] = fs::read(path).with_context(|| name.to_string())?.leak();
    match Model::load(file) {
        Ok(model) => Ok((file, model)),
        Err(error) => match other_kind(file, &error) {
            Some(kind) => bail!("{name}: this is {kind}, not an int8 file made by `unbraid quantize`"),
            None => Err(error).with_context(|| name.to_string()),
        },
    }
}

/// Working memory for a model; a hostile file may ask for more than there is.
pub fn arena(model: &Model<'_>) -> Result<Vec<u8>> {
    let bytes = model.arena_bytes();
    let mut arena = Vec::new();
    arena.try_reserve_exact(bytes).map_err(|_| anyhow!("needs {bytes} bytes of working memory, more than there is"))?;
    arena.resize(bytes, 0);
    Ok(arena)
}

/// What a file is that was never a model; `None` for a damaged model.
fn other_kind(file: &[u8], error: &LoadError) -> Option<&'static str> {
    if file.starts_with(b"\x89PNG") {
        return Some("a PNG picture");
    }
    if file.is_empty() {
        return Some("an empty file");
    }
    // The JSON object behind the header length.
    if file.get(8).is_some_and(|byte| *byte != b'{') {
        return Some("a file of another kind");
    }
    let header = SafeTensors::read_metadata(file);
    let foreign = header.is_ok_and(|(_, header)| header.info("plan").is_none());
    (foreign || matches!(error, LoadError::Magic { .. })).then_some("a safetensors file of another kind")
}

#[cfg(feature = "onnx")]
fn open_folder(path: &Path) -> Result<Opened> {
    use unbraid::onnx::OnnxAutoencoder;

    let onnx = OnnxAutoencoder::open(&path.join("encoder.onnx"), &path.join("decoder.onnx"))?;
    let factors = super::onnx_factors::read(&path.join("config.json"), onnx.latents())?;
    let zeros = onnx.zeros();
    Ok(Opened { network: Network::Onnx(Box::new(onnx)), zeros, factors })
}

#[cfg(not(feature = "onnx"))]
fn open_folder(path: &Path) -> Result<Opened> {
    let int8 = path.join("model.int8.safetensors");
    let hint = if int8.is_file() { format!("; its int8 file is {}", int8.display()) } else { String::new() };
    bail!(
        "{}: a folder; this `unbraid-run` does not read ONNX files, one built with \
         `cargo build --release -p unbraid --features cli,onnx` does{hint}",
        path.display()
    )
}
