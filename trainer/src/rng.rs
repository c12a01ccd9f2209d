//! Random numbers by purpose and position: one seed, no hidden state.
//!
//! Every draw comes from a ChaCha8 stream that is named by (seed, purpose, position), so a resumed run needs no saved
//! generator and one consumer's draws never shift another's.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// What the numbers are for; each purpose has streams of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// Initial weights; position: a running number of the tensor.
    Init = 1,
    /// Indices of a minibatch; position: the step.
    Batch,
    /// Reparameterization noise; position: the step.
    Noise,
    /// Permutations of latents across a batch; position: the step.
    Permutation,
    /// Draws of a metric.
    Metric,
    /// Calibration images of the quantizer.
    Calibration,
    /// Images for reports and pictures.
    Report,
    /// Codes and noise that images are generated from; position: a running number of the minibatch from 1, 0 for the noise of the
    /// exported generator.
    Codes,
    /// Places between real and generated images; position: as the codes of the latter.
    Interpolation,
}

/// The generator for `purpose` at `position` under `seed`.
pub fn stream(seed: u64, purpose: Purpose, position: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // Positions stay far below 2^56: no run has that many steps.
    rng.set_stream(((purpose as u64) << 56) ^ position);
    rng
}

/// `n` independent draws from N(0, 1).
pub fn normals(rng: &mut ChaCha8Rng, n: usize) -> Vec<f32> {
    StandardNormal.sample_iter(rng).take(n).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_differ() {
        let draw = |seed, purpose, position| normals(&mut stream(seed, purpose, position), 8);
        let base = draw(1, Purpose::Noise, 5);
        assert_eq!(base, draw(1, Purpose::Noise, 5));
        assert_ne!(base, draw(2, Purpose::Noise, 5));
        assert_ne!(base, draw(1, Purpose::Init, 5));
        assert_ne!(base, draw(1, Purpose::Noise, 6));
    }
}
