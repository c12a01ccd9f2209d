//! `unbraid-run info`

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;
use unbraid::{Factor, Layer};

use super::layers::{Description, sizes, times};
use super::model::load;
use super::table::{Table, grouped};

/// Options of `unbraid-run info`.
#[derive(clap::Args)]
pub struct Args {
    /// The int8 file
    model: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Info {
    /// `(H, W, C)`
    image: [usize; 3],
    latents: usize,
    mean_bits: u8,
    log_var_bits: u8,
    factors: Vec<Knob>,
    encoder: Option<Network>,
    decoder: Option<Network>,
    /// Of the whole file, the most that flash has to hold.
    file_bytes: usize,
    /// Of the part behind the JSON header.
    data_bytes: usize,
    metadata: BTreeMap<String, String>,
}

/// A row of the factor table.
#[derive(Serialize)]
struct Knob {
    name: &'static str,
    latent: usize,
    low: f32,
    high: f32,
    center: f32,
    scale: f32,
    /// KL to the prior, nats
    importance: f32,
    agreement: f32,
}

#[derive(Serialize)]
struct Network {
    layers: Vec<Description>,
    macs: u64,
    parameter_bytes: usize,
    /// Working memory
    arena_bytes: usize,
}

impl Network {
    fn new<'a>(layers: impl Iterator<Item = Layer<'a>>, arena_bytes: usize) -> Option<Self> {
        let layers: Vec<_> = layers.enumerate().map(|(index, layer)| Description::new(index, &layer)).collect();
        let macs = layers.iter().map(|layer| layer.macs).fold(0, u64::saturating_add);
        let parameter_bytes = layers.iter().map(|layer| layer.parameter_bytes).sum();
        (!layers.is_empty()).then_some(Network { layers, macs, parameter_bytes, arena_bytes })
    }
}

pub fn run(args: &Args) -> Result<String> {
    let (file, model) = load(&args.model)?;
    let header = file.first_chunk().map_or(0, |length| u64::from_le_bytes(*length));
    let info = Info {
        image: sizes(model.image()),
        latents: model.latents(),
        mean_bits: model.mean_bits(),
        log_var_bits: model.log_var_bits(),
        factors: model.factors().map(Knob::from).collect(),
        encoder: Network::new(model.encoder_layers(), model.encode_arena_bytes()),
        decoder: Network::new(model.decoder_layers(), model.decode_arena_bytes()),
        file_bytes: file.len(),
        data_bytes: file.len().saturating_sub(8).saturating_sub(usize::try_from(header).unwrap_or(usize::MAX)),
        metadata: unbraid::metadata(file)?,
    };
    if args.json {
        return Ok(serde_json::to_string_pretty(&info)? + "\n");
    }
    let mut text = String::new();
    text.write_fmt(format_args!("{}: {info}", args.model.display()))?;
    Ok(text)
}

impl From<Factor<'static>> for Knob {
    fn from(factor: Factor<'static>) -> Self {
        let Factor { latent, name, low, high, center, scale, importance, agreement } = factor;
        Knob { name, latent, low, high, center, scale, importance, agreement }
    }
}

impl std::fmt::Display for Info {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "image {}, {} latents", times(&self.image), self.latents)?;
        for (key, value) in &self.metadata {
            // Escaped: a file's strings are not to move the cursor.
            writeln!(f, "  {}: {}", key.escape_debug(), value.escape_debug())?;
        }
        writeln!(f, "\nfactors, the most important first\n{}", self.factor_table())?;
        for (name, network) in [("encoder", &self.encoder), ("decoder", &self.decoder)] {
            match network {
                Some(network) => writeln!(f, "{name}, sizes as height x width x channels\n{}", network.table())?,
                None => writeln!(f, "no {name}\n")?,
            }
        }
        writeln!(f, "totals")?;
        for (name, network) in [("encode", &self.encoder), ("decode", &self.decoder)] {
            if let Some(Network { macs, arena_bytes, .. }) = network {
                writeln!(f, "  {name}  {} MACs, {} bytes of arena", grouped(*macs), grouped(*arena_bytes as u64))?;
            }
        }
        let [file, data] = [self.file_bytes, self.data_bytes].map(|bytes| grouped(bytes as u64));
        writeln!(f, "  flash   {file} bytes, {data} without the JSON header")
    }
}

impl Info {
    fn factor_table(&self) -> String {
        if self.factors.is_empty() {
            return "  none: the latents have not been labeled\n".into();
        }
        let mut table =
            Table::new(["factor", "latent", ">low", ">high", ">center", ">scale", ">KL, nats", ">agreement"]);
        for Knob { name, latent, low, high, center, scale, importance, agreement } in &self.factors {
            let number = |value: &f32| format!("{value:.3}");
            table.row([
                name,
                &format_args!("z{latent}"),
                &number(low),
                &number(high),
                &number(center),
                &number(scale),
                &number(importance),
                &format_args!("{agreement:.2}"),
            ]);
        }
        table.to_string()
    }
}

impl Network {
    fn table(&self) -> String {
        let mut table = Table::new([">layer", "kind", "input", "output", "kernel", "stride", ">MACs", ">weight bytes"]);
        for layer in &self.layers {
            let table_too = if layer.activation_table { " + table" } else { "" };
            table.row([
                &layer.layer,
                &format_args!("{}{table_too}", layer.kind),
                &times(&layer.input),
                &times(&layer.output),
                &times(&layer.kernel),
                &times(&layer.stride),
                &grouped(layer.macs),
                &grouped(layer.weight_bytes as u64),
            ]);
        }
        table.to_string()
    }
}
