//! Many runs from one file: a grid of objectives, hyper-parameters and seeds, trained, measured and ranked.
//!
//! ```text
//! SWEEP/sweep.toml          the list, as it was given, with the architecture files that it names
//! SWEEP/runs/NAME/          ordinary run folders; NAME/model/ has the int8 file and what both score
//! SWEEP/jobs/NAME.json      how far the job of this run has come: [`job::Record`]
//! SWEEP/jobs/NAME.log       what it printed
//! SWEEP/selection/          UDR of the runs that differ in their seed alone
//! SWEEP/traversals/         pictures of the best run of each objective
//! SWEEP/leaderboard.json    all scores; leaderboard.html shows them
//! ```
//!
//! [`plan`] makes the list, [`job`] works off one entry of it in a process of its own. An [`Engine`] starts these processes:
//! [`local`] here, [`slurm`] on a cluster that shares the folder. Nothing but the folder says what is done, so that any of
//! them may be killed, and the same command goes on.

pub mod folder;
mod html;
pub mod job;
pub mod leaderboard;
pub mod local;
pub mod plan;
pub mod selection;
pub mod slurm;
mod table;

pub use folder::{State, Sweep};
pub use leaderboard::Leaderboard;
pub use plan::{Entry, Plan};

use crate::Result;

/// Where the jobs of a sweep run.
pub trait Engine {
    /// Starts the jobs of `entries`, in this order, and returns when there is nothing left to do here; `tell` hears sentences
    /// for the user. A job that fails keeps no other from running.
    ///
    /// # Errors
    /// Jobs cannot be started at all.
    fn start(&self, sweep: &Sweep, entries: &[&Entry], tell: &(dyn Fn(&str) + Sync)) -> Result<()>;
}
