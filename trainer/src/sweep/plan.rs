//! `sweep.toml`: from a grid to a list of runs, all checked before the first one starts.

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use toml::{Table, Value};

use super::slurm;
use crate::{
    Error, Result,
    data::Spec,
    metrics::{self, Metric, Protocol},
    model::architecture_file,
    train::config::{TrainConfig, check_keys, to_toml},
};

/// A sweep, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The runs: groups as they stand in the file; the keys of a group by name, of which the last one changes first; seeds
    /// before all.
    pub entries: Vec<Entry>,
    /// What is measured of each run.
    pub evaluate: Evaluate,
    /// What Slurm is asked for.
    pub slurm: slurm::Options,
    /// The file.
    pub text: String,
    /// Architecture files that it names, from its folder.
    pub files: Vec<PathBuf>,
}

/// A run of a sweep.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its name: [`Self::settings`] and the seed. Also its folder's.
    pub name: String,
    /// Objective (or the group's name) and the hyper-parameters that the grid spans: what runs have in common that differ in
    /// their seed alone.
    pub settings: String,
    /// All settings.
    pub config: TrainConfig,
}

/// What is measured of each run: the options of `unbraid evaluate`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Evaluate {
    /// Scores to give, as `--metrics` takes them.
    pub metrics: String,
    /// Protocols of the FactorVAE score.
    pub protocols: Vec<String>,
    /// Images for reconstruction loss, KL, ranges, scores without labels and UDR.
    pub samples: usize,
    /// Names all draws.
    pub seed: u64,
    /// Whether the int8 version is measured too.
    pub int8: bool,
}

impl Default for Evaluate {
    fn default() -> Self {
        let metrics::Options { protocols, samples, seed, .. } = metrics::Options::default();
        let protocols = protocols.iter().map(|protocol| protocol.name.into()).collect();
        Self { metrics: "all".into(), protocols, samples, seed, int8: true }
    }
}

impl Evaluate {
    /// The same for [`metrics::evaluate`].
    ///
    /// # Errors
    /// A metric or protocol is not known, or there are too few images.
    pub fn options(&self) -> Result<metrics::Options> {
        if self.samples < 2 {
            return Err(Error::setting("samples", self.samples, "at least 2"));
        }
        let protocols = self.protocols.iter().map(|name| Protocol::named(name)).collect::<Result<_>>()?;
        let metrics = Metric::list(&self.metrics)?;
        Ok(metrics::Options { metrics, protocols, samples: self.samples, seed: self.seed, ..Default::default() })
    }
}

/// The tables and keys of a sweep file.
const KEYS: [&str; 5] = ["evaluate", "group", "seeds", "slurm", "train"];

impl Plan {
    /// Reads a sweep file.
    ///
    /// # Errors
    /// The file cannot be read, is no TOML, or a key, named with what was found and what was expected, makes no sense.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(Error::io(path))?;
        let expected = "a sweep, as docs/sweep.md explains it";
        let table =
            text.parse::<Table>().map_err(|e| Error::malformed(path, "TOML", e.to_string().trim_end(), expected))?;
        Self::from_table(&table, text, &crate::train::files::parent(path))
    }

    fn from_table(table: &Table, text: String, folder: &Path) -> Result<Self> {
        for (key, value) in table {
            if !KEYS.contains(&key.as_str()) {
                return Err(Error::setting(key, value, &format!("one of {}", KEYS.join(", "))));
            }
        }
        let evaluate: Evaluate = section(table, "evaluate")?;
        evaluate.options().map_err(in_section("evaluate"))?;
        let slurm: slurm::Options = section(table, "slurm")?;
        slurm.validate().map_err(in_section("slurm"))?;

        let train = table.get("train").map_or_else(|| Ok(Table::new()), |value| table_of(value, "train"))?;
        refuse_seed(&train)
            .and_then(|()| check_keys(&train, &TrainConfig::default().to_whole_table()?, "unbraid train"))
            .map_err(in_section("train"))?;
        let seeds = seeds(table.get("seeds"))?;
        let expected = "a list of tables, [[group]], one at least";
        let groups = match table.get("group") {
            Some(Value::Array(groups)) if !groups.is_empty() => groups,
            other => return Err(Error::setting("group", shown(other), expected)),
        };

        let mut plan = Self { entries: Vec::new(), evaluate, slurm, text, files: Vec::new() };
        for (i, group) in groups.iter().enumerate() {
            let name = format!("group[{i}]");
            let group = Group::new(&train, table_of(group, &name)?).map_err(in_section(&name))?;
            for point in group.points() {
                plan.add(&group, &point, &seeds, folder).map_err(in_section(&name))?;
            }
        }
        Ok(plan)
    }

    /// Adds the runs of one point of a grid.
    fn add(&mut self, group: &Group, point: &Table, seeds: &[i64], folder: &Path) -> Result<()> {
        let mut config = TrainConfig::from_table(point.clone())?;
        let settings = group.name_of(&config)?;
        if architecture_file::is_file(&config.architecture) {
            let file = PathBuf::from(&config.architecture);
            // The file is kept with the sweep, under the same path.
            if !file.components().all(|part| matches!(part, Component::Normal(_))) {
                let expected = "a preset, or a file in the folder of the sweep file or below it";
                return Err(Error::setting("architecture", file.display(), expected));
            }
            config.architecture = folder.join(&file).to_string_lossy().into_owned();
            if !self.files.contains(&file) {
                self.files.push(file);
            }
        }
        // What the file says counts from its folder.
        let spec = config.dataset.parse::<Spec>()?.absolute(folder)?;
        config.dataset = spec.for_image(config.architecture()?.image).to_string();
        for &seed in seeds {
            let config = TrainConfig { seed: seed.unsigned_abs(), ..config.clone() };
            config.validate()?;
            let name = format!("{settings},seed={seed}");
            if self.entries.iter().any(|entry| entry.name == name) {
                let expected = "runs that differ in what their names tell: lists in one group, or groups with a `name`";
                return Err(Error::setting("name", format!("{name}, twice"), expected));
            }
            self.entries.push(Entry { name, settings: settings.clone(), config });
        }
        Ok(())
    }
}

/// A `[[group]]`, with the settings that all have.
struct Group {
    name: Option<String>,
    fixed: Table,
    /// The keys that have a list, and its values.
    axes: Vec<(String, Vec<Value>)>,
}

impl Group {
    fn new(train: &Table, mut group: Table) -> Result<Self> {
        refuse_seed(&group)?;
        let name = match group.remove("name") {
            None => None,
            Some(Value::String(name))
                if name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(in_name) =>
            {
                Some(name)
            }
            Some(other) => {
                return Err(Error::setting(
                    "name",
                    other,
                    "letters, digits, '-', '_' and '.', a letter or digit first",
                ));
            }
        };
        let (mut fixed, mut axes) = (train.clone(), Vec::new());
        for (key, value) in group {
            if let Value::Array(values) = value {
                if values.is_empty() {
                    return Err(Error::setting(&key, "[]", "at least one value"));
                }
                if let Some((_, value)) = values.iter().enumerate().find(|&(i, value)| values[..i].contains(value)) {
                    return Err(Error::setting(&key, format!("{value}, twice"), "each value once"));
                }
                axes.push((key, values));
            } else {
                fixed.insert(key, value);
            }
        }
        // The objective leads the names, so it changes last.
        axes.sort_by(|(a, _), (b, _)| (a != OBJECTIVE, a).cmp(&(b != OBJECTIVE, b)));
        if !(fixed.contains_key(OBJECTIVE) || axes.iter().any(|(key, _)| key == OBJECTIVE)) {
            return Err(Error::setting(OBJECTIVE, "(not set)", "a system, as `unbraid train --objective` takes it"));
        }
        Ok(Self { name, fixed, axes })
    }

    /// The settings of each point of the grid; the last key changes first.
    fn points(&self) -> Vec<Table> {
        self.axes.iter().fold(vec![self.fixed.clone()], |points, (key, values)| {
            let with = |point: &Table, value: &Value| {
                let mut point = point.clone();
                point.insert(key.clone(), value.clone());
                point
            };
            points.iter().flat_map(|point| values.iter().map(move |value| with(point, value))).collect()
        })
    }

    /// What tells the settings of `config` from others of the sweep, as a name for files.
    fn name_of(&self, config: &TrainConfig) -> Result<String> {
        let table = config.to_table()?;
        let mut name = self.name.clone().unwrap_or_else(|| config.objective.name());
        for (key, _) in &self.axes {
            if key == OBJECTIVE && self.name.is_none() {
                continue;
            }
            // As the run has it: 4 and 4.0 are the same weight.
            let value = match table.get(key) {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Float(number)) => number.to_string(),
                Some(other) => other.to_string(),
                None => continue,
            };
            let value: String = value.chars().map(|c| if in_name(c) { c } else { '-' }).collect();
            name.push_str(&format!(",{key}={value}"));
        }
        Ok(name)
    }
}

const OBJECTIVE: &str = "objective";

/// What names of files may have everywhere.
fn in_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.".contains(c)
}

fn refuse_seed(table: &Table) -> Result<()> {
    match table.get("seed") {
        Some(seed) => Err(Error::setting("seed", seed, "no such key: the list `seeds` has the seeds of all groups")),
        None => Ok(()),
    }
}

fn seeds(value: Option<&Value>) -> Result<Vec<i64>> {
    let expected = "a list of different whole numbers, 0 or more, one at least";
    let refused = |found: String| Error::setting("seeds", found, expected);
    let Some(Value::Array(values)) = value else { return Err(refused(shown(value))) };
    let mut seeds = Vec::new();
    for value in values {
        match value.as_integer() {
            Some(seed) if seed >= 0 && !seeds.contains(&seed) => seeds.push(seed),
            _ => return Err(refused(value.to_string())),
        }
    }
    if seeds.is_empty() { Err(refused("[]".into())) } else { Ok(seeds) }
}

/// The table `name` of the file, defaults for what it does not say.
fn section<T: Default + Serialize + DeserializeOwned>(table: &Table, name: &str) -> Result<T> {
    let Some(value) = table.get(name) else { return Ok(T::default()) };
    let given = table_of(value, name)?;
    let mut settings = to_toml(&T::default())?;
    check_keys(&given, &settings, &format!("[{name}]")).map_err(in_section(name))?;
    settings.extend(given);
    let found = value.to_string();
    settings.try_into().map_err(|e: toml::de::Error| Error::setting(name, found, e.message()))
}

fn table_of(value: &Value, name: &str) -> Result<Table> {
    value.as_table().cloned().ok_or_else(|| Error::setting(name, value, "a table"))
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "(not set)".into(), Value::to_string)
}

/// Says in which part of the file a setting stands.
fn in_section(section: &str) -> impl Fn(Error) -> Error {
    move |error| match error {
        Error::Setting { name, found, expected } => {
            Error::Setting { name: format!("{section}.{name}"), found, expected }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str) -> Result<Plan> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sweep.toml");
        fs::write(&path, text).unwrap();
        Plan::read(&path)
    }

    fn names(text: &str) -> Vec<String> {
        plan(text).unwrap().entries.into_iter().map(|entry| entry.name).collect()
    }

    #[test]
    fn a_grid_becomes_a_list_in_a_fixed_order() {
        let text = "seeds = [3, 0]\n[train]\nsteps = 7\n\
                    [[group]]\nobjective = \"beta-vae\"\nlatents = [4, 5]\nbeta = [1, 4.5]\n\
                    [[group]]\nobjective = [\"vae\", \"pca\"]\n";
        let expected = [
            "beta-vae,beta=1,latents=4",
            "beta-vae,beta=1,latents=5",
            "beta-vae,beta=4.5,latents=4",
            "beta-vae,beta=4.5,latents=5",
            "vae",
            "pca",
        ];
        let expected: Vec<String> =
            expected.iter().flat_map(|name| [3, 0].map(|seed| format!("{name},seed={seed}"))).collect();
        assert_eq!(names(text), expected);
        let plan = plan(text).unwrap();
        let TrainConfig { steps, seed, latents, options, .. } = &plan.entries[4].config;
        assert_eq!((*steps, *seed, *latents, options.beta_vae.beta), (7, 3, 4, 4.5));
        assert_eq!(plan.entries[4].settings, "beta-vae,beta=4.5,latents=4");
        // Each system's own defaults, where neither part says otherwise.
        assert_eq!(plan.entries[10].config.architecture, "linear");
    }

    #[test]
    fn a_name_tells_groups_of_one_objective_apart() {
        let group = "[[group]]\nobjective = \"vae\"\n";
        let text = format!("seeds = [0]\n{group}{group}name = \"wide\"\nlatents = [20]");
        assert_eq!(names(&text), ["vae,seed=0", "wide,latents=20,seed=0"]);
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        let group = "[[group]]\nobjective = \"vae\"\n";
        for (text, words) in [
            (format!("seed = [0]\n{group}"), ["seed = [0]", "one of evaluate, group, seeds, slurm, train"]),
            (group.into(), ["seeds = (not set)", "a list of different whole numbers"]),
            (format!("seeds = []\n{group}"), ["seeds = []", "one at least"]),
            (format!("seeds = [1, 1]\n{group}"), ["seeds = 1", "different"]),
            (format!("seeds = [-1]\n{group}"), ["seeds = -1", "0 or more"]),
            ("seeds = [0]".into(), ["group = (not set)", "[[group]]"]),
            ("seeds = [0]\ngroup = 3".into(), ["group = 3", "[[group]]"]),
            ("seeds = [0]\n[[group]]\nlatents = 3".into(), ["group[0].objective = (not set)", "--objective"]),
            (format!("seeds = [0]\n{group}latents = []"), ["group[0].latents = []", "at least one value"]),
            (format!("seeds = [0]\n{group}latents = [3, 3]"), ["group[0].latents = 3, twice", "each value once"]),
            (format!("seeds = [0]\n{group}latents = [3, 200]"), ["group[0].latents = 200", "1 to 128"]),
            (format!("seeds = [0]\n{group}latents = [[3]]"), ["group[0].latents = [3]", "type integer"]),
            (format!("seeds = [0]\n{group}latent = 3"), ["group[0].latent = 3", "one of the keys of vae"]),
            (format!("seeds = [0]\n{group}beta = [3]"), ["group[0].beta = 3", "one of the keys of vae"]),
            (format!("seeds = [0]\n{group}seed = 3"), ["group[0].seed = 3", "`seeds`"]),
            (format!("seeds = [0]\n{group}name = \"a/b\""), ["group[0].name = \"a/b\"", "letters, digits"]),
            (format!("seeds = [0]\n{group}{group}"), ["group[1].name = vae,seed=0, twice", "a `name`"]),
            // 1 and 1.0 are one run.
            (
                "seeds = [0]\n[[group]]\nobjective = \"beta-vae\"\nbeta = [1, 1.0]".into(),
                ["group[0].name = beta-vae,beta=1,seed=0, twice", "differ"],
            ),
            (
                format!("seeds = [0]\n{group}architecture = \"../n.toml\""),
                ["group[0].architecture = ../n.toml", "below"],
            ),
            (
                format!("seeds = [0]\n[train]\nstep = 3\n{group}"),
                ["train.step = 3", "one of the keys of unbraid train"],
            ),
            (format!("seeds = [0]\n[train]\nsteps = [3]\n{group}"), ["train.steps = [3]", "type integer"]),
            (format!("seeds = [0]\n[train]\nsteps = 0\n{group}"), ["group[0].steps = 0", "1 or more"]),
            (format!("seeds = [0]\n[evaluate]\nmetric = 3\n{group}"), ["evaluate.metric = 3", "int8, metrics"]),
            (
                format!("seeds = [0]\n[evaluate]\nmetrics = \"best\"\n{group}"),
                ["evaluate.metrics = best", "factor-vae"],
            ),
            (format!("seeds = [0]\n[evaluate]\nprotocols = [3]\n{group}"), ["evaluate = ", "a string"]),
            (format!("seeds = [0]\n[evaluate]\nsamples = 1\n{group}"), ["evaluate.samples = 1", "at least 2"]),
            (format!("seeds = [0]\n[slurm]\nqueue = \"a\"\n{group}"), ["slurm.queue = \"a\"", "partition"]),
            (format!("seeds = [0]\n[slurm]\ncpus_per_task = 0\n{group}"), ["slurm.cpus_per_task = 0", "1 or more"]),
            (format!("seeds = [0]\n[slurm]\nextra = [\"x\"]\n{group}"), ["slurm.extra = \"x\"", "--"]),
            (format!("seeds = [0]\n[slurm]\ntime = \"1\\n2\"\n{group}"), ["slurm.time = \"1\\n2\"", "one line"]),
        ] {
            let error = plan(&text).unwrap_err().to_string();
            assert!(words.iter().all(|word| error.contains(word)), "{text}\n{error}\n{words:?}");
        }
        let error = plan("seeds = [").unwrap_err().to_string();
        assert!(error.contains("sweep.toml: TOML: found") && error.contains("docs/sweep.md"), "{error}");
    }
}
