//! Where this process stands among those of the run, from the variables that torchrun sets.
//!
//! | variable | what | when it is not set |
//! |---|---|---|
//! | `WORLD_SIZE` | processes in all | 1; an error if `RANK` is set |
//! | `RANK` | number of this one, from 0 | 0; an error if `WORLD_SIZE` is more than 1 |
//! | `LOCAL_RANK` | its number on this machine | `RANK` modulo the GPUs that it sees |
//! | `MASTER_ADDR` | name or address of rank 0's machine | an error if `WORLD_SIZE` is more than 1 |
//! | `MASTER_PORT` | TCP port of rank 0 | 29500 |

use std::str::FromStr;

use crate::{Error, Result};

/// torchrun's default.
const DEFAULT_PORT: u16 = 29_500;
/// More than any cluster has; keeps a typing error from waiting for millions of ranks.
const MOST_RANKS: usize = 65_536;

/// Where this process stands among those of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// The number of this process, from 0.
    pub rank: usize,
    /// Processes in all.
    pub world_size: usize,
    /// The number of this process on its machine, where the launcher says so.
    pub local_rank: Option<usize>,
    /// Name or address of rank 0's machine; empty for one process.
    pub master_address: String,
    /// TCP port of rank 0.
    pub master_port: u16,
}

impl Default for Launch {
    /// One process.
    fn default() -> Self {
        Self { rank: 0, world_size: 1, local_rank: None, master_address: String::new(), master_port: DEFAULT_PORT }
    }
}

impl Launch {
    /// Reads the environment.
    ///
    /// # Errors
    /// See [`Launch::from_variables`].
    pub fn from_env() -> Result<Self> {
        Self::from_variables(|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }

    /// Reads the variables that `variable` looks up by name.
    ///
    /// # Errors
    /// A value is no number or out of range, or one is missing that the others need.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let world_size = number(&variable, "WORLD_SIZE", 1..=MOST_RANKS)?;
        let rank = number(&variable, "RANK", 0..=MOST_RANKS - 1)?;
        let (rank, world_size) = match (rank, world_size) {
            (None, None | Some(1)) => (0, 1),
            (Some(rank), Some(world_size)) if rank < world_size => (rank, world_size),
            (Some(rank), Some(world_size)) => {
                let expected = format!("0 to {}, since WORLD_SIZE is {world_size}", world_size - 1);
                return Err(Error::setting("RANK", rank, &expected));
            }
            (Some(rank), None) => {
                let expected = format!("the number of processes, since RANK is {rank}");
                return Err(Error::setting("WORLD_SIZE", "(not set)", &expected));
            }
            (None, Some(world_size)) => {
                let expected = format!("0 to {}, since WORLD_SIZE is {world_size}", world_size - 1);
                return Err(Error::setting("RANK", "(not set)", &expected));
            }
        };
        if world_size == 1 {
            // Clusters set the rest for every process; it means nothing to a single one.
            return Ok(Self::default());
        }
        let local_rank = number(&variable, "LOCAL_RANK", 0..=MOST_RANKS - 1)?;
        let expected = format!("name or address of rank 0's machine, since WORLD_SIZE is {world_size}");
        let master_address = match variable("MASTER_ADDR") {
            Some(address) if !address.trim().is_empty() => address.trim().to_owned(),
            Some(address) => return Err(Error::setting("MASTER_ADDR", format!("{address:?}"), &expected)),
            None => return Err(Error::setting("MASTER_ADDR", "(not set)", &expected)),
        };
        let master_port = number(&variable, "MASTER_PORT", 1..=u16::MAX)?.unwrap_or(DEFAULT_PORT);
        Ok(Self { rank, world_size, local_rank, master_address, master_port })
    }

    /// Whether this rank writes the run's files.
    pub fn writes(&self) -> bool {
        self.rank == 0
    }

    /// Refuses several processes where this build cannot connect them.
    ///
    /// # Errors
    /// There are several, and the build has no NCCL.
    pub fn check_build(&self) -> Result<()> {
        if self.world_size > 1 && !cfg!(feature = "nccl") { Err(self.no_nccl()) } else { Ok(()) }
    }

    pub(super) fn no_nccl(&self) -> Error {
        let expected = "1: this build trains in one process; several, on a CUDA GPU each, take --features nccl";
        Error::setting("WORLD_SIZE", self.world_size, expected)
    }

    /// The GPU of this rank, of the `visible` ones on this machine.
    ///
    /// Launchers that show each process a GPU of its own (Slurm's `--gpus-per-task`) make it number 0 for all of them.
    ///
    /// # Errors
    /// There are fewer GPUs than ranks on this machine.
    pub fn ordinal(&self, visible: usize) -> Result<usize> {
        match (visible, self.local_rank) {
            (0, _) => Err(Error::Rank {
                rank: self.rank,
                world_size: self.world_size,
                reason: "no CUDA GPU is visible".into(),
            }),
            (1, _) => Ok(0),
            (_, Some(local)) if local < visible => Ok(local),
            (_, Some(local)) => {
                let expected = format!("0 to {}, one for each of the {visible} GPUs that are visible", visible - 1);
                Err(Error::setting("LOCAL_RANK", local, &expected))
            }
            (_, None) => Ok(self.rank % visible),
        }
    }
}

/// The variable `name` as a number in `range`; none if it is not set or empty.
fn number<T: FromStr + PartialOrd + std::fmt::Display>(
    variable: &impl Fn(&str) -> Option<String>,
    name: &str,
    range: std::ops::RangeInclusive<T>,
) -> Result<Option<T>> {
    let Some(text) = variable(name).filter(|text| !text.is_empty()) else { return Ok(None) };
    match text.parse::<T>() {
        Ok(number) if range.contains(&number) => Ok(Some(number)),
        _ => Err(Error::setting(name, text, &format!("a whole number from {} to {}", range.start(), range.end()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(variables: &[(&str, &str)]) -> Result<Launch> {
        Launch::from_variables(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn refusal(variables: &[(&str, &str)]) -> String {
        launch(variables).unwrap_err().to_string()
    }

    #[test]
    fn a_process_without_variables_is_alone() {
        assert_eq!(launch(&[]).unwrap(), Launch::default());
        assert_eq!(launch(&[("WORLD_SIZE", "1")]).unwrap(), Launch::default());
        assert_eq!(launch(&[("WORLD_SIZE", "1"), ("RANK", "0"), ("LOCAL_RANK", "0")]).unwrap(), Launch::default());
        // A Kubernetes Service gives every pod of its namespace such variables.
        assert_eq!(launch(&[("MASTER_PORT", "tcp://10.0.0.1:80")]).unwrap(), Launch::default());
        assert_eq!(launch(&[("RANK", ""), ("WORLD_SIZE", "")]).unwrap(), Launch::default());
        assert!(Launch::default().writes());
    }

    #[test]
    fn torchruns_variables_are_read() {
        let all = [
            ("RANK", "3"),
            ("WORLD_SIZE", "4"),
            ("LOCAL_RANK", "1"),
            ("MASTER_ADDR", "node0"),
            ("MASTER_PORT", "1234"),
        ];
        let found = launch(&all).unwrap();
        assert_eq!(
            found,
            Launch { rank: 3, world_size: 4, local_rank: Some(1), master_address: "node0".into(), master_port: 1234 }
        );
        assert!(!found.writes());
        let few = launch(&[("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "::1")]).unwrap();
        assert_eq!((few.local_rank, few.master_port), (None, 29_500));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        let cases: &[(&[(&str, &str)], &str)] = &[
            (&[("RANK", "1")], "WORLD_SIZE = (not set): expected the number of processes, since RANK is 1"),
            (&[("WORLD_SIZE", "2")], "RANK = (not set): expected 0 to 1, since WORLD_SIZE is 2"),
            (&[("RANK", "2"), ("WORLD_SIZE", "2")], "RANK = 2: expected 0 to 1, since WORLD_SIZE is 2"),
            (&[("RANK", "-1"), ("WORLD_SIZE", "2")], "RANK = -1: expected a whole number from 0 to 65535"),
            (&[("RANK", "one"), ("WORLD_SIZE", "2")], "RANK = one: expected a whole number from 0 to 65535"),
            (&[("RANK", "0"), ("WORLD_SIZE", "0")], "WORLD_SIZE = 0: expected a whole number from 1 to 65536"),
            (&[("RANK", "0"), ("WORLD_SIZE", "1e3")], "WORLD_SIZE = 1e3: expected a whole number from 1 to 65536"),
            (
                &[("RANK", "0"), ("WORLD_SIZE", "99999999999999999999")],
                "WORLD_SIZE = 99999999999999999999: expected a whole number from 1 to 65536",
            ),
            (
                &[("RANK", "0"), ("WORLD_SIZE", "2")],
                "MASTER_ADDR = (not set): expected name or address of rank 0's machine, since WORLD_SIZE is 2",
            ),
            (
                &[("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", " ")],
                "MASTER_ADDR = \" \": expected name or address of rank 0's machine, since WORLD_SIZE is 2",
            ),
            (
                &[("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "a"), ("MASTER_PORT", "0")],
                "MASTER_PORT = 0: expected a whole number from 1 to 65535",
            ),
            (
                &[("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "a"), ("LOCAL_RANK", "x")],
                "LOCAL_RANK = x: expected a whole number from 0 to 65535",
            ),
        ];
        for (variables, expected) in cases {
            assert_eq!(refusal(variables), *expected, "{variables:?}");
        }
    }

    #[test]
    fn each_rank_of_a_machine_gets_a_gpu_of_its_own() {
        let rank = |rank, local_rank| Launch { rank, world_size: 8, local_rank, ..Launch::default() };
        assert_eq!(rank(5, Some(1)).ordinal(4).unwrap(), 1);
        assert_eq!(rank(5, None).ordinal(4).unwrap(), 1);
        // One visible GPU each.
        assert_eq!(rank(5, Some(1)).ordinal(1).unwrap(), 0);
        let error = rank(5, Some(4)).ordinal(4).unwrap_err().to_string();
        assert_eq!(error, "LOCAL_RANK = 4: expected 0 to 3, one for each of the 4 GPUs that are visible");
        assert_eq!(rank(5, None).ordinal(0).unwrap_err().to_string(), "rank 5 of 8: no CUDA GPU is visible");
    }

    #[cfg(not(feature = "nccl"))]
    #[test]
    fn a_build_without_nccl_says_what_it_takes() {
        let several = Launch { world_size: 2, ..Launch::default() };
        let error = several.check_build().unwrap_err().to_string();
        assert!(error.contains("WORLD_SIZE = 2") && error.contains("--features nccl"), "{error}");
        let device = candle_core::Device::Cpu;
        assert_eq!(super::super::connect(&several, &device, b"", |_| ()).unwrap_err().to_string(), error);
    }
}
