//! `--set` and `--step`: which latents change, and to what.

use std::fmt::{self, Display};

use anyhow::{Context, Result, bail};
use unbraid::Code;

use super::model::Opened;
use super::tell;

/// The latents to turn.
#[derive(clap::Args)]
pub struct Edits {
    /// Set a factor, named as in `info`, or a latent (z3 or 3); may be given several times
    #[arg(long, value_name = "FACTOR=VALUE", value_parser = assignment)]
    set: Vec<Assignment>,
    /// Move a factor by so many of its standard deviations over the data; may be given several times
    #[arg(long, value_name = "FACTOR=STEPS", value_parser = assignment)]
    step: Vec<Assignment>,
}

/// `rotation=1.5`
#[derive(Clone)]
struct Assignment {
    name: String,
    value: f32,
}

fn assignment(text: &str) -> Result<Assignment, String> {
    // The last equals sign: a name may hold one, a number may not.
    let (name, value) = text.rsplit_once('=').ok_or("expected FACTOR=NUMBER")?;
    match value.parse() {
        Ok(number) if f32::is_finite(number) && !name.is_empty() => Ok(Assignment { name: name.into(), value: number }),
        _ if name.is_empty() => Err("expected a factor before the equals sign".into()),
        _ => Err(format!("{value:?} is not a finite number")),
    }
}

/// A latent that was turned.
pub struct Change {
    latent: usize,
    label: String,
    from: f32,
    to: f32,
    range: (f32, f32),
}

impl Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Change { label, from, to, range: (low, high), .. } = self;
        write!(f, "{label}: {from:.4} -> {to:.4}")?;
        if (*low..=*high).contains(to) {
            Ok(())
        } else {
            write!(f, " (outside its useful range, {low:.4} to {high:.4})")
        }
    }
}

impl Edits {
    /// Turns the latents of `code`, and no others.
    pub fn apply(&self, model: &Opened, code: Code) -> Result<(Code, Vec<Change>)> {
        let mut edited = code;
        let mut changes: Vec<Change> = Vec::new();
        let set = self.set.iter().map(|assignment| ("--set", assignment));
        let step = self.step.iter().map(|assignment| ("--step", assignment));
        for (option, Assignment { name, value }) in set.chain(step) {
            let latent = model.latent(name).with_context(|| format!("{option} {name}"))?;
            let label = model.label(latent);
            if changes.iter().any(|change| change.latent == latent) {
                bail!("{option} {name}: {label} is turned twice");
            }
            let from = code.mean(latent);
            let asked = match (option, model.factor_of(latent)) {
                ("--set", _) => *value,
                (_, Some(factor)) => from + value * factor.scale,
                _ => bail!(
                    "{option} {name}: {label} is not in the model's factor table, so its scale is unknown; use --set"
                ),
            };
            edited.set(latent, asked)?;
            let to = edited.mean(latent);
            // Rounding moves a value by at most half a unit; more is saturation.
            if (to - asked).abs() > 0.5 / 2_f32.powi(code.mean_bits().into()) {
                tell(format_args!("note: {label}: {asked} is beyond what a code can hold, {to} is the nearest"));
            }
            changes.push(Change { latent, label, from, to, range: model.range(latent) });
        }
        Ok((edited, changes))
    }
}

/// A line for each change.
pub fn lines(changes: &[Change]) -> String {
    changes.iter().map(|change| format!("{change}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_are_names_and_finite_numbers() {
        let parse = |text| assignment(text).map(|Assignment { name, value }| (name, value));
        assert_eq!(parse("rotation=+1.5"), Ok(("rotation".into(), 1.5)));
        assert_eq!(parse("a=b=-2"), Ok(("a=b".into(), -2.0)));
        for wrong in ["rotation", "rotation=", "=1", "rotation=NaN", "rotation=inf", "rotation=1e99", "rotation=one"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
