//! `config.json`: what a model is and how it was trained.

use std::collections::BTreeSet;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::weights::Mismatch;
use crate::model::{Architecture, Factor, Layer, Shape, Window};
use crate::{Error, Result, train::config::TrainConfig};

const FORMAT: &str = "unbraid";
const VERSION: u64 = 1;

/// No side, channel or feature count of a network is larger, so that no product of a few overflows.
const SIZE_LIMIT: usize = 1 << 16;

/// The objective of a model that others trained.
pub const IMPORTED: &str = "imported";
/// The data set of a model of which nobody knows it.
pub const UNKNOWN_DATASET: &str = "none";

type Checked<T> = std::result::Result<T, Mismatch>;

/// The content of `config.json`, but for `"format": "unbraid"` and `"version": 1`, which the file has too.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelConfig {
    /// The networks.
    pub architecture: Architecture,
    /// What was minimized, `factor-vae`; [`IMPORTED`] for a model that others trained.
    pub objective: String,
    /// The training data, `sprites`; [`UNKNOWN_DATASET`] where nobody knows.
    pub dataset: String,
    /// Optimizer steps made.
    pub steps: u64,
    /// The seed of every random number.
    pub seed: u64,
    /// All training options as they were used, defaults included; its files' names for a model that others trained.
    pub training: Value,
    /// What is known of the latents; may be empty.
    pub factors: Vec<Factor>,
}

#[derive(Serialize)]
struct ConfigFile<'a> {
    format: &'a str,
    version: u64,
    #[serde(flatten)]
    config: &'a ModelConfig,
}

impl ModelConfig {
    /// The command that trains such a model; none for one that others trained.
    pub fn command(&self) -> Option<String> {
        let settings = toml::Table::try_from(&self.training).ok()?;
        TrainConfig::from_table(settings).ok()?.command_line(self.steps).ok()
    }

    /// The text of `config.json`.
    pub(super) fn to_json(&self) -> Result<String> {
        let file = ConfigFile { format: FORMAT, version: VERSION, config: self };
        serde_json::to_string_pretty(&file)
            .map(|text| text + "\n")
            .map_err(|e| Error::Unsupported(format!("config.json: {e}")))
    }

    /// Reads and checks the bytes of a `config.json`.
    pub(super) fn from_json(bytes: &[u8]) -> Checked<Self> {
        let value = serde_json::from_slice(bytes).map_err(|e| Mismatch::new("content", e, "valid JSON"))?;
        let Value::Object(mut fields) = value else {
            return Err(Mismatch::new("content", kind(&value), "an object"));
        };
        check_field(&mut fields, "format", &FORMAT.into())?;
        check_field(&mut fields, "version", &VERSION.into())?;
        for part in ["encoder", "decoder"] {
            let layers = fields.get("architecture").and_then(|a| a.get(part));
            check_items::<Layer>(layers, &format!("architecture.{part}"), "a layer")?;
        }
        check_items::<Factor>(fields.get("factors"), "factors", "a factor")?;
        let config = Self {
            architecture: take(&mut fields, "architecture", "networks")?,
            objective: take(&mut fields, "objective", "a name")?,
            dataset: take(&mut fields, "dataset", "a name")?,
            steps: take(&mut fields, "steps", "a count")?,
            seed: take(&mut fields, "seed", "a whole number from 0")?,
            training: take(&mut fields, "training", "the training options")?,
            factors: take(&mut fields, "factors", "a list")?,
        };
        if let Some((name, value)) = fields.iter().next() {
            return Err(Mismatch::new(name, value, "no such field"));
        }
        config.check()?;
        Ok(config)
    }

    /// Refuses networks that do not fit together and factors that contradict them or each other.
    pub(super) fn check(&self) -> Checked<()> {
        let net = &self.architecture;
        let image = Shape::Image(net.image);
        let sizes = [net.image.channels, net.image.height, net.image.width, net.latents];
        if sizes.iter().any(|n| !(1..=SIZE_LIMIT).contains(n)) {
            let expected = format!("1 to {SIZE_LIMIT} channels, rows, columns and latents");
            return Err(Mismatch::new("architecture.image", format!("{sizes:?}"), expected));
        }
        check_sizes("encoder", &net.encoder, image)?;
        check_sizes("decoder", &net.decoder, Shape::Features(net.latents))?;
        let unfit = |reason| Mismatch::new("architecture", reason, "layers that fit each other");
        net.validate().map_err(unfit)?;
        self.check_factors()
    }

    fn check_factors(&self) -> Checked<()> {
        let latents = self.architecture.latents;
        let (mut seen, mut names) = (BTreeSet::new(), BTreeSet::new());
        for (i, f) in self.factors.iter().enumerate() {
            let field = |name: &str| format!("factors[{i}].{name}");
            let numbers = [f.low, f.center, f.high, f.scale, f.importance, f.agreement];
            if f.latent >= latents {
                return Err(Mismatch::new(field("latent"), f.latent, format!("less than {latents}")));
            }
            if !seen.insert(f.latent) {
                return Err(Mismatch::new(field("latent"), f.latent, "each latent once"));
            }
            if f.name.is_empty() || f.name.chars().any(char::is_control) || !names.insert(&f.name) {
                return Err(Mismatch::new(field("name"), format!("{:?}", f.name), "a name that no other factor has"));
            }
            if numbers.iter().any(|v| !v.is_finite()) {
                return Err(Mismatch::new(field("low to agreement"), format!("{numbers:?}"), "finite numbers"));
            }
            if !(f.low <= f.center && f.center <= f.high) {
                let found = format!("{}, {}, {}", f.low, f.center, f.high);
                return Err(Mismatch::new(field("low, center, high"), found, "ascending numbers"));
            }
            if f.scale < 0.0 {
                return Err(Mismatch::new(field("scale"), f.scale, "at least 0"));
            }
            if !(0.0..=1.0).contains(&f.agreement) {
                return Err(Mismatch::new(field("agreement"), f.agreement, "0 to 1"));
            }
        }
        Ok(())
    }
}

/// Takes out a field that has only one allowed value.
fn check_field(fields: &mut Map<String, Value>, name: &str, expected: &Value) -> Checked<()> {
    match fields.remove(name) {
        Some(found) if found == *expected => Ok(()),
        Some(found) => Err(Mismatch::new(name, found, expected)),
        None => Err(Mismatch::new(name, "nothing", expected)),
    }
}

fn take<T: DeserializeOwned>(fields: &mut Map<String, Value>, name: &str, expected: &str) -> Checked<T> {
    let value = fields.remove(name).ok_or_else(|| Mismatch::new(name, "nothing", expected))?;
    serde_json::from_value(value).map_err(|e| Mismatch::new(name, e, expected))
}

/// Names the first item of a list that is not a `T`.
fn check_items<T: DeserializeOwned>(list: Option<&Value>, name: &str, expected: &str) -> Checked<()> {
    let mut items = list.and_then(Value::as_array).into_iter().flatten().enumerate();
    items.try_for_each(|(i, item)| match T::deserialize(item) {
        Ok(_) => Ok(()),
        Err(e) => Err(Mismatch::new(format!("{name}[{i}]"), e, expected)),
    })
}

/// Refuses sizes over the limit layer by layer, before a later layer multiplies them.
fn check_sizes(part: &str, layers: &[Layer], input: Shape) -> Checked<()> {
    let mut shape = input;
    for (i, layer) in layers.iter().enumerate() {
        let field = || format!("architecture.{part}[{i}]");
        let own = match *layer {
            Layer::Conv2d { in_channels, out_channels, .. } => vec![in_channels, out_channels],
            Layer::ConvTranspose2d { in_channels, out_channels, output_padding, .. } => {
                // Paddings are the only sizes that may be zero.
                [vec![in_channels, out_channels], output_padding.map(|size| size.saturating_add(1)).into()].concat()
            }
            Layer::Linear { in_features, out_features, .. } => vec![in_features, out_features],
            Layer::UpsampleNearest { factor } => factor.into(),
            Layer::MaxPool { .. } | Layer::Flatten => vec![],
            Layer::Unflatten { channels, height, width } => vec![channels, height, width],
        };
        let window = layer.window().into_iter().flat_map(|Window { kernel, stride, padding }| {
            [kernel.into(), stride.into(), padding.sides().map(|size| size.saturating_add(1)).to_vec()].concat()
        });
        let own: Vec<usize> = own.into_iter().chain(window).collect();
        if own.iter().any(|n| !(1..=SIZE_LIMIT).contains(n)) {
            return Err(Mismatch::new(field(), format!("{layer:?}"), format!("sizes of 1 to {SIZE_LIMIT}")));
        }
        layer.activation().check().map_err(|e| Mismatch::new(field(), e, "a function that does not fall"))?;
        shape = layer.output(shape).map_err(|e| Mismatch::new(field(), e, "a layer that fits"))?;
        let sizes = match shape {
            Shape::Image(i) => [i.channels, i.height, i.width],
            Shape::Features(n) => [n, 1, 1],
        };
        if sizes.iter().any(|&n| n > SIZE_LIMIT) {
            return Err(Mismatch::new(field(), format!("an output of {sizes:?}"), format!("at most {SIZE_LIMIT}")));
        }
    }
    Ok(())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
