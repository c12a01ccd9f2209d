//! The settings of a training run: one definition for the command line, TOML files and `config.toml`.

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    data::{self, Dataset},
    model::{
        Architecture,
        architecture_file::{self, ARCHITECTURE_FILE},
    },
    nn::{AdamOptions, Init},
    objective::{Options, Settings, System},
};

/// Every setting of a run. The defaults are those of Kim & Mnih 2018 for sprites.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Args)]
#[serde(default)]
pub struct TrainConfig {
    /// What is minimized.
    #[arg(long, value_enum, default_value_t = TrainConfig::default().objective)]
    pub objective: System,
    /// The data: sprites, scenes, npz:FILE, hdf5:FILE, folder:DIR, mpi3d:FILE, cars3d:DIR or smallnorb:DIR.
    #[arg(long, default_value_t = TrainConfig::default().dataset)]
    pub dataset: String,
    /// The networks: factor-vae-64, factor-vae-64-rgb, burgess-64, beta-vae-mlp, dc-ign, or a TOML file of one's own.
    #[arg(long, default_value_t = TrainConfig::default().architecture)]
    pub architecture: String,
    /// Latent dimensions.
    #[arg(long, value_parser = count::<usize>, default_value_t = TrainConfig::default().latents)]
    pub latents: usize,
    /// Images in a minibatch.
    #[arg(long, value_parser = count::<usize>, default_value_t = TrainConfig::default().batch_size)]
    pub batch_size: usize,
    /// Optimizer steps to make in all.
    #[arg(long, value_parser = count::<u64>, default_value_t = TrainConfig::default().steps)]
    pub steps: u64,
    /// Names every random number of the run.
    #[arg(long, value_parser = count::<u64>, default_value_t = TrainConfig::default().seed)]
    pub seed: u64,
    /// Initial weights of encoder and decoder.
    #[arg(long, value_enum, default_value_t = TrainConfig::default().init)]
    pub init: Init,
    /// The settings of the systems, of which only the objective's own may be given.
    #[command(flatten)]
    #[serde(flatten)]
    pub options: Options,
    /// Where to compute: auto, cpu, cuda or cuda:N.
    #[arg(long, default_value_t = TrainConfig::default().device)]
    pub device: String,
    /// CPU threads; 0 takes all cores.
    #[arg(long, value_parser = count::<usize>, default_value_t = TrainConfig::default().threads)]
    pub threads: usize,
    /// Steps between two lines of metrics.jsonl.
    #[arg(long, value_parser = count::<u64>, default_value_t = TrainConfig::default().log_every)]
    pub log_every: u64,
    /// Steps between two sample sheets.
    #[arg(long, value_parser = count::<u64>, default_value_t = TrainConfig::default().sample_every)]
    pub sample_every: u64,
    /// Steps between two checkpoints.
    #[arg(long, value_parser = count::<u64>, default_value_t = TrainConfig::default().checkpoint_every)]
    pub checkpoint_every: u64,
    /// Checkpoints to keep, the newest ones; at least 2, so that one damaged file costs no run.
    #[arg(long, value_parser = count::<usize>, default_value_t = TrainConfig::default().keep_checkpoints)]
    pub keep_checkpoints: usize,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            objective: System::FactorVae,
            dataset: "sprites".into(),
            architecture: "factor-vae-64".into(),
            latents: 10,
            batch_size: 64,
            steps: 300_000,
            seed: 0,
            init: Init::He,
            options: Options::default(),
            device: "auto".into(),
            threads: 0,
            log_every: 50,
            sample_every: 1000,
            checkpoint_every: 1000,
            keep_checkpoints: 2,
        }
    }
}

/// Keys that say where and how often, not what is trained: they may change between a run and its continuation.
const CHANGEABLE: [&str; 7] =
    ["steps", "device", "threads", "log_every", "sample_every", "checkpoint_every", "keep_checkpoints"];

impl TrainConfig {
    /// The defaults where `objective` is trained.
    pub fn of_objective(objective: System) -> Self {
        let config = Self { objective, architecture: objective.architecture().into(), ..Self::default() };
        match objective {
            // Fitted at once.
            System::Pca | System::Ica => Self { steps: 1, batch_size: 10_000, ..config },
            _ => config,
        }
    }

    /// The settings as a flat TOML table, without those that only other systems than the objective have.
    pub fn to_table(&self) -> Result<toml::Table> {
        let mut table = self.to_whole_table()?;
        let others = to_toml(&self.options)?;
        let own = self.objective.settings(&self.options);
        let own = own.into_iter().map(|group| group.table()).collect::<Result<Vec<_>>>()?;
        table.retain(|key, _| !others.contains_key(key) || own.iter().any(|group| group.contains_key(key)));
        Ok(table)
    }

    /// [`Self::to_table`] with the settings of all systems.
    pub fn to_whole_table(&self) -> Result<toml::Table> {
        to_toml(self)
    }

    /// The settings in `table`, defaults for the rest.
    ///
    /// # Errors
    /// A key is not known or has the wrong type.
    pub fn from_table(table: toml::Table) -> Result<Self> {
        let objective = |value: &toml::Value| value.clone().try_into::<System>().ok();
        let objective = table.get("objective").and_then(objective).unwrap_or(Self::default().objective);
        let mut known = Self::of_objective(objective).to_table()?;
        check_keys(&table, &known, &objective.name())?;
        for (key, value) in &table {
            // One by one, since serde names the key of an unknown variant no more; its message ends in those it knows.
            if let Err(e) = toml::Table::from_iter([(key.clone(), value.clone())]).try_into::<Self>() {
                return Err(Error::setting(key, value, e.message().rsplit("expected ").next().unwrap_or_default()));
            }
        }
        known.extend(table);
        known.try_into().map_err(|e: toml::de::Error| Error::Unsupported(format!("settings: {}", e.message())))
    }

    /// The same for another place: an architecture file by the name that runs and models keep it under, beside them.
    pub fn portable(&self) -> Self {
        let file = architecture_file::is_file(&self.architecture);
        let architecture = if file { ARCHITECTURE_FILE.into() } else { self.architecture.clone() };
        Self { architecture, ..self.clone() }
    }

    /// The command line that trains to `steps` with these settings, without what changes nothing in the result.
    pub fn command_line(&self, steps: u64) -> Result<String> {
        let defaults = Self::of_objective(self.objective).to_table()?;
        let mut words = format!("unbraid train --steps {steps}");
        if self.objective != Self::default().objective {
            words.push_str(&format!(" --objective {}", self.objective.name()));
        }
        for (key, value) in self.portable().to_table()? {
            if defaults.get(&key) != Some(&value) && !Self::changeable(&key) {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                words.push_str(&format!(" --{} {}", key.replace('_', "-"), shell_word(&value)));
            }
        }
        Ok(words)
    }

    /// Whether `key` may change when a run is resumed.
    pub fn changeable(key: &str) -> bool {
        CHANGEABLE.contains(&key)
    }

    /// The networks, checked.
    pub fn architecture(&self) -> Result<Architecture> {
        Architecture::open(&self.architecture, self.latents)
    }

    /// Refuses values that make no sense, by name. Returns the data set, which it has to open.
    pub fn validate(&self) -> Result<Box<dyn Dataset>> {
        self.validate_settings()?;
        let dataset = data::open(&self.dataset)?;
        if dataset.image() != self.architecture()?.image {
            let expected = format!("one for {}, the images of {}", dataset.image(), dataset.name());
            return Err(Error::setting("architecture", &self.architecture, &expected));
        }
        self.objective.check(&self.options, &*dataset, &self.architecture()?)?;
        Ok(dataset)
    }

    /// [`Self::validate`] but for the data set, whose images need not be those that the networks take.
    pub fn validate_settings(&self) -> Result<()> {
        self.architecture()?;
        // One image has no other to be shuffled with.
        if !(2..=65_536).contains(&self.batch_size) {
            return Err(Error::setting("batch_size", self.batch_size, "2 to 65536"));
        }
        for (name, value) in [
            ("steps", self.steps),
            ("log_every", self.log_every),
            ("sample_every", self.sample_every),
            ("checkpoint_every", self.checkpoint_every),
        ] {
            if value == 0 {
                return Err(Error::setting(name, value, "1 or more"));
            }
        }
        if self.keep_checkpoints < 2 {
            return Err(Error::setting("keep_checkpoints", self.keep_checkpoints, "2 or more"));
        }
        if i64::try_from(self.seed).is_err() {
            return Err(Error::setting("seed", self.seed, "below 2^63, which is what TOML can hold"));
        }
        if self.threads > 1024 {
            return Err(Error::setting("threads", self.threads, "0 (all cores) to 1024"));
        }
        self.objective.settings(&self.options).into_iter().try_for_each(Settings::validate)
    }
}

/// `text` as one word for a shell.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// [`quoted`] where a shell would take `text` for something else.
pub(crate) fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:,+=".contains(c);
    if text.chars().all(plain) { text.into() } else { quoted(text) }
}

/// Refuses what is not in `known`, the defaults of `owner`, or has another type there.
pub(crate) fn check_keys(table: &toml::Table, known: &toml::Table, owner: &str) -> Result<()> {
    for (key, value) in table {
        let Some(default) = known.get(key) else {
            let mut keys: Vec<_> = known.keys().map(String::as_str).collect();
            keys.sort_unstable();
            let expected = format!("one of the keys of {owner}: {}", keys.join(", "));
            return Err(Error::setting(key, value, &expected));
        };
        let number = value.is_integer() && default.is_float();
        if !(default.same_type(value) || number) {
            return Err(Error::setting(key, value, &format!("a value of type {}", default.type_str())));
        }
        if default.is_integer() && value.as_integer().is_some_and(|n| n < 0) {
            return Err(Error::setting(key, value, "0 or more"));
        }
    }
    Ok(())
}

/// Settings as a TOML table.
pub(crate) fn to_toml(settings: &impl Serialize) -> Result<toml::Table> {
    toml::Table::try_from(settings).map_err(|e| Error::Unsupported(format!("settings as TOML: {e}")))
}

/// Reads a count from the command line; TOML, in which settings are kept, has none beyond 2^63.
pub fn count<T: TryFrom<i64>>(text: &str) -> std::result::Result<T, String> {
    let number = text.parse::<i64>().ok().and_then(|n| T::try_from(n).ok());
    number.ok_or_else(|| "expected a whole number from 0 to 9223372036854775807".into())
}

/// Refuses weights of a loss term that make no sense.
pub(crate) fn validate_weight(name: &str, weight: f64) -> Result<()> {
    if !(weight.is_finite() && weight >= 0.0) {
        return Err(Error::setting(name, weight, "a finite number, 0 or more"));
    }
    Ok(())
}

/// Refuses step sizes and decays that make no sense; `prefix` leads the names of the settings.
pub(crate) fn validate_adam(prefix: &str, adam: &AdamOptions) -> Result<()> {
    validate_learning_rate(&format!("{prefix}learning_rate"), adam.learning_rate)?;
    validate_decay(&format!("{prefix}beta1"), adam.beta1)?;
    validate_decay(&format!("{prefix}beta2"), adam.beta2)
}

/// Refuses step sizes that make no sense.
pub(crate) fn validate_learning_rate(name: &str, rate: f64) -> Result<()> {
    if !(rate > 0.0 && rate <= 1.0) {
        return Err(Error::setting(name, rate, "above 0, at most 1"));
    }
    Ok(())
}

/// Refuses decays of a running average that make no sense.
pub(crate) fn validate_decay(name: &str, decay: f64) -> Result<()> {
    if !(0.0..1.0).contains(&decay) {
        return Err(Error::setting(name, decay, "0 or more, below 1"));
    }
    Ok(())
}
