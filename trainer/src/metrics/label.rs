//! Names for latents: after the factor that each one moves with, or by hand.
//!
//! A latent is named after the factor with the greatest effect on it ([`super::effects`]), if that stands out ([`LEAD`]); one that
//! follows several factors at once keeps its number, `z4`, since any of their names would mislead. Votes of the FactorVAE score
//! do not decide, they tell how far the name can be trusted ([`Factor::agreement`]): a factor that no latent carries
//! gives its votes to whichever latent it disturbs, so the second of two rotation latents can hold nothing but votes
//! for "shape", and still it rotates the picture. Effects also name latents that got no votes at all.
//!
//! Latents that follow the same factor are told apart by a number: the one that carries most of it (effect times KL,
//! the nats that go with the factor) has the plain name, the others are `name-2`, `name-3`.

use std::collections::HashSet;

use super::elbo::LatentStatistics;
use crate::{Error, Result, model::Factor};

/// How many times the effect of the next factor the greatest one must have to give a latent its name.
pub const LEAD: f32 = 1.25;

/// The longest name, bytes of UTF-8.
pub const MAX_NAME: usize = 40;

/// What labeled data says about the latents.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// The factors' names.
    pub names: &'a [String],
    /// Total effects, `(latents, factors)`.
    pub effects: &'a [Vec<f32>],
    /// Votes of a FactorVAE score, `(latents, factors)`.
    pub votes: &'a [Vec<u64>],
}

impl Evidence<'_> {
    /// The factor that `latent` follows, and its effect; `None` where no factor leads by [`LEAD`].
    fn factor(&self, latent: usize) -> Option<(usize, f32)> {
        let mut effects: Vec<(usize, f32)> = self.effects[latent].iter().copied().enumerate().collect();
        effects.sort_by(|a, b| b.1.total_cmp(&a.1));
        let next = effects.get(1).map_or(0.0, |next| next.1);
        effects.first().copied().filter(|best| best.1 > 0.0 && best.1 >= LEAD * next)
    }

    /// The share of `latent`'s votes that are for `factor`; 0 without votes.
    fn agreement(&self, latent: usize, factor: usize) -> f32 {
        let total: u64 = self.votes[latent].iter().sum();
        if total == 0 { 0.0 } else { self.votes[latent][factor] as f32 / total as f32 }
    }
}

/// The table of active latents, the most important (KL to the prior) first.
///
/// The useful range runs from the first to the 99th percentile of the posterior means. Without evidence the names are
/// `z0`, `z3` and so on.
pub fn label(statistics: &LatentStatistics, evidence: Option<&Evidence>) -> Vec<Factor> {
    let mut factors: Vec<Factor> = statistics
        .active
        .iter()
        .map(|&latent| Factor {
            latent,
            name: format!("z{latent}"),
            low: statistics.low[latent],
            high: statistics.high[latent],
            center: statistics.mean[latent],
            scale: statistics.std[latent],
            importance: statistics.kl[latent],
            agreement: 0.0,
        })
        .collect();
    if let Some(evidence) = evidence {
        name_after_factors(&mut factors, evidence);
    }
    factors.sort_by(|a, b| b.importance.total_cmp(&a.importance).then(a.latent.cmp(&b.latent)));
    factors
}

fn name_after_factors(factors: &mut [Factor], evidence: &Evidence) {
    let carried =
        |factor: &Factor| evidence.factor(factor.latent).map_or(0.0, |(_, effect)| effect * factor.importance);
    factors.sort_by(|a, b| carried(b).total_cmp(&carried(a)).then(a.latent.cmp(&b.latent)));
    let mut taken = HashSet::new();
    for factor in factors {
        let Some((followed, _)) = evidence.factor(factor.latent) else { continue };
        let plain = &evidence.names[followed];
        let mut name = plain.clone();
        let mut number = 2;
        while !taken.insert(name.clone()) {
            name = format!("{plain}-{number}");
            number += 1;
        }
        factor.name = name;
        factor.agreement = evidence.agreement(factor.latent, followed);
    }
}

/// Gives latents the names chosen by hand, `(latent, name)`; their agreement becomes 0, for nobody voted on them.
///
/// Names may be swapped: only the table as it is in the end has to be free of repetitions.
///
/// # Errors
/// A latent is not in the table or is named twice; a name is empty, longer than [`MAX_NAME`] bytes, has control
/// characters, or is another latent's. The table is then unchanged.
pub fn apply_names(factors: &mut Vec<Factor>, names: &[(usize, String)]) -> Result<()> {
    let mut named = factors.clone();
    let mut done = HashSet::new();
    for (latent, name) in names {
        let option = format!("{latent}={name}");
        if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
            let expected = format!("a name of 1 to {MAX_NAME} bytes without control characters");
            return Err(Error::setting("name", option.escape_debug(), &expected));
        }
        if !done.insert(latent) {
            return Err(Error::setting("name", option, &format!("one name for latent {latent}")));
        }
        let Some(factor) = named.iter_mut().find(|factor| factor.latent == *latent) else {
            let mut active: Vec<usize> = factors.iter().map(|factor| factor.latent).collect();
            active.sort_unstable();
            return Err(Error::setting("name", option, &format!("an active latent, one of {active:?}")));
        };
        if factor.name != *name {
            factor.name.clone_from(name);
            factor.agreement = 0.0;
        }
    }
    for (i, factor) in named.iter().enumerate() {
        if let Some(other) = named[..i].iter().find(|other| other.name == factor.name) {
            let expected = format!("different names for latents {} and {}", other.latent, factor.latent);
            return Err(Error::setting("name", &factor.name, &expected));
        }
    }
    *factors = named;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Latents of the given KL; latent j has mean 0, scale 1 and the range -2..2.
    fn statistics(kl: &[f32]) -> LatentStatistics {
        let all = |value: f32| vec![value; kl.len()];
        LatentStatistics {
            images: 100,
            seed: 0,
            reconstruction: Some(50.0),
            kl: kl.to_vec(),
            mean: all(0.0),
            std: all(1.0),
            low: all(-2.0),
            high: all(2.0),
            active: (0..kl.len()).filter(|&latent| kl[latent] >= 0.01).collect(),
        }
    }

    fn table() -> Vec<Factor> {
        let names = ["shape", "rotation", "x"].map(String::from);
        let effects = [
            vec![0.3, 0.9, 0.0],   // rotation, weaker
            vec![0.0, 0.0, 0.0],   // inactive
            vec![0.0, 0.05, 0.95], // x
            vec![0.4, 0.8, 0.1],   // rotation, stronger, with votes for shape only
            vec![0.5, 0.6, 0.3],   // rotation, tangled
        ];
        let votes = [vec![0, 30, 10], vec![0, 0, 0], vec![0, 0, 50], vec![20, 0, 0], vec![0, 0, 0]];
        let evidence = Evidence { names: &names, effects: &effects, votes: &votes };
        label(&statistics(&[1.0, 0.001, 3.0, 2.0, 1.2]), Some(&evidence))
    }

    fn column<T>(factors: &[Factor], value: fn(&Factor) -> T) -> Vec<T> {
        factors.iter().map(value).collect()
    }

    #[test]
    fn latents_are_named_by_effect_and_sorted_by_kl() {
        let factors = table();
        assert_eq!(column(&factors, |f| f.latent), [2, 3, 4, 0]);
        // Latent 4 follows rotation and shape alike: no name would be right.
        assert_eq!(column(&factors, |f| f.name.clone()), ["x", "rotation", "z4", "rotation-2"]);
        assert_eq!(column(&factors, |f| f.agreement), [1.0, 0.0, 0.0, 0.75]);
        assert_eq!((factors[0].low, factors[0].high, factors[0].importance), (-2.0, 2.0, 3.0));
    }

    #[test]
    fn unlabeled_latents_are_called_by_number() {
        let factors = label(&statistics(&[0.5, 0.0, 0.0, 2.0]), None);
        assert_eq!(column(&factors, |f| f.name.clone()), ["z3", "z0"]);
    }

    #[test]
    fn names_by_hand_replace_names() {
        let mut factors = table();
        let names = [(0, "rotation".into()), (3, "drehung°".into()), (2, "x".into())];
        apply_names(&mut factors, &names).unwrap();
        assert_eq!(column(&factors, |f| f.name.clone()), ["x", "drehung°", "z4", "rotation"]);
        // What was confirmed keeps its votes.
        assert_eq!(column(&factors, |f| f.agreement), [1.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn bad_names_are_refused_and_change_nothing() {
        let refused = |names: &[(usize, &str)], expected: &str| {
            let names: Vec<_> = names.iter().map(|&(latent, name)| (latent, name.to_string())).collect();
            let mut factors = table();
            let error = apply_names(&mut factors, &names).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert_eq!(factors, table());
        };
        refused(&[(0, "tilt"), (1, "dead")], "name = 1=dead: expected an active latent, one of [0, 2, 3, 4]");
        refused(&[(9, "far")], "active latent");
        refused(&[(0, "x")], "name = x: expected different names for latents 2 and 0");
        refused(&[(0, "same"), (3, "same")], "different names");
        refused(&[(0, "one"), (0, "two")], "one name for latent 0");
        refused(&[(0, "")], "1 to 40 bytes");
        refused(&[(0, "a\nb")], "a\\nb");
        refused(&[(0, "ä".repeat(21).as_str())], "1 to 40 bytes");
        apply_names(&mut table(), &[(0, "ä".repeat(20))]).unwrap();
    }
}
