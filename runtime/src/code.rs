//! The code of an image: a mean and a log-variance for each latent, in fixed point.

use crate::error::RunError;
use crate::factor::Factor;
use crate::format::MAX_LATENTS;
use crate::model::Model;

/// Bits of an `f32` below its exponent.
const SIGNIFICAND_BITS: u32 = 23;

/// A number of fraction bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fixed {
    bits: u8,
}

impl Fixed {
    /// `bits` fraction bits, up to 31.
    pub(crate) const fn new(bits: u8) -> Self {
        Fixed { bits }
    }

    /// raw / 2^bits, for a whole number `raw`.
    pub(crate) fn value(self, raw: f32) -> f32 {
        // So much less in the exponent; whole numbers are far from the smallest that it can express.
        match raw.to_bits() {
            0 => 0.0,
            bits => f32::from_bits(bits.wrapping_sub(u32::from(self.bits) << SIGNIFICAND_BITS)),
        }
    }

    /// The int16 nearest to value · 2^bits, halves away from zero, saturated; `None` for NaN.
    ///
    /// In integers: many devices have no floating point unit.
    #[expect(clippy::as_conversions, reason = "at most 2^16, and within the int16 range after the clamp")]
    pub(crate) fn raw(self, value: f32) -> Option<i16> {
        let magnitude = value.to_bits() & i32::MAX.cast_unsigned();
        if magnitude > f32::INFINITY.to_bits() {
            return None;
        }
        // |value| · 2^bits = significand / 2^shift, but for subnormal numbers, which are next to 0.
        let one = 1 << SIGNIFICAND_BITS;
        let significand = magnitude & (one - 1) | one;
        let shift = 127 + SIGNIFICAND_BITS - u32::from(self.bits);
        // What is beyond 2^15 at a shift of 8 saturates, what is below 1/2 at one of 25 is 0.
        let shift = shift.saturating_sub(magnitude >> SIGNIFICAND_BITS).clamp(8, 25);
        let rounded = ((significand + (1 << (shift - 1))) >> shift) as i32;
        let signed = if value.is_sign_negative() { -rounded } else { rounded };
        Some(signed.clamp(i16::MIN.into(), i16::MAX.into()) as i16)
    }
}

/// Why a latent could not be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodeError {
    /// The code has no such latent.
    #[error("latent {index} of a code with {latents}")]
    Latent {
        /// The index asked for.
        index: usize,
        /// Latents of the code.
        latents: usize,
    },
    /// The value is not a number.
    #[error("latent {index} cannot be set to NaN")]
    NotANumber {
        /// The latent.
        index: usize,
    },
    /// A code cannot have that many latents or fraction bits.
    #[error("{field} {found} of a code, at most {limit}")]
    Layout {
        /// Which.
        field: &'static str,
        /// The number asked for.
        found: usize,
        /// The most there can be.
        limit: usize,
    },
}

/// Names a latent: by index, or as a model's [`Factor`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatentIndex(pub usize);

impl From<usize> for LatentIndex {
    fn from(index: usize) -> Self {
        LatentIndex(index)
    }
}

impl From<Factor<'_>> for LatentIndex {
    fn from(factor: Factor<'_>) -> Self {
        LatentIndex(factor.latent)
    }
}

impl From<&Factor<'_>> for LatentIndex {
    fn from(factor: &Factor<'_>) -> Self {
        LatentIndex(factor.latent)
    }
}

/// Mean and log-variance of each latent, as int16 with a fixed number of fraction bits.
///
/// The decoder reads the means. Two codes are equal if all their numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    mean: [i16; MAX_LATENTS],
    log_var: [i16; MAX_LATENTS],
    latents: usize,
    mean_bits: u8,
    log_var_bits: u8,
}

impl Code {
    /// The prior's mean: all means and log-variances 0.
    pub fn new(model: &Model<'_>) -> Code {
        Code {
            mean: [0; MAX_LATENTS],
            log_var: [0; MAX_LATENTS],
            latents: model.latents(),
            mean_bits: model.mean_bits(),
            log_var_bits: model.log_var_bits(),
        }
    }

    /// Makes it the code that [`new`](Self::new) gives.
    pub(crate) fn reset(&mut self, model: &Model<'_>) {
        self.mean.fill(0);
        self.log_var.fill(0);
        self.latents = model.latents();
        self.mean_bits = model.mean_bits();
        self.log_var_bits = model.log_var_bits();
    }

    /// A code of zeros, for networks that are not a [`Model`].
    ///
    /// # Errors
    ///
    /// For more than 128 latents or 15 fraction bits.
    pub fn zeros(latents: usize, mean_bits: u8, log_var_bits: u8) -> Result<Code, CodeError> {
        let limits = [
            ("latents", latents, MAX_LATENTS),
            ("mean_bits", mean_bits.into(), crate::format::MAX_BITS.into()),
            ("log_var_bits", log_var_bits.into(), crate::format::MAX_BITS.into()),
        ];
        for (field, found, limit) in limits {
            if found > limit {
                return Err(CodeError::Layout { field, found, limit });
            }
        }
        Ok(Code { mean: [0; MAX_LATENTS], log_var: [0; MAX_LATENTS], latents, mean_bits, log_var_bits })
    }

    /// Number of latents L.
    pub fn latents(&self) -> usize {
        self.latents
    }

    /// Fraction bits of the means.
    pub fn mean_bits(&self) -> u8 {
        self.mean_bits
    }

    /// Fraction bits of the log-variances.
    pub fn log_var_bits(&self) -> u8 {
        self.log_var_bits
    }

    /// The means, `(L)`, in units of 2^-mean_bits.
    pub fn means(&self) -> &[i16] {
        self.mean.get(..self.latents).unwrap_or(&[])
    }

    /// The log-variances, `(L)`, in units of 2^-log_var_bits.
    pub fn log_vars(&self) -> &[i16] {
        self.log_var.get(..self.latents).unwrap_or(&[])
    }

    /// The mean of a latent; NaN if there is no such latent.
    pub fn mean(&self, latent: impl Into<LatentIndex>) -> f32 {
        read(self.means(), latent.into(), self.mean_bits)
    }

    /// The log-variance of a latent; NaN if there is no such latent.
    pub fn log_var(&self, latent: impl Into<LatentIndex>) -> f32 {
        read(self.log_vars(), latent.into(), self.log_var_bits)
    }

    /// Sets the mean of one latent to the nearest int16; values beyond saturate.
    ///
    /// # Errors
    ///
    /// If there is no such latent, or `value` is NaN.
    pub fn set(&mut self, latent: impl Into<LatentIndex>, value: f32) -> Result<(), CodeError> {
        let LatentIndex(index) = latent.into();
        let raw = Fixed::new(self.mean_bits).raw(value).ok_or(CodeError::NotANumber { index })?;
        self.set_raw(index, raw)
    }

    /// Sets the mean of one latent, in units of 2^-mean_bits.
    ///
    /// # Errors
    ///
    /// If there is no such latent.
    pub fn set_raw(&mut self, latent: impl Into<LatentIndex>, raw: i16) -> Result<(), CodeError> {
        write(&mut self.mean, latent.into(), self.latents, raw)
    }

    /// Sets the log-variance of one latent to the nearest int16; values beyond saturate.
    ///
    /// # Errors
    ///
    /// If there is no such latent, or `value` is NaN.
    pub fn set_log_var(&mut self, latent: impl Into<LatentIndex>, value: f32) -> Result<(), CodeError> {
        let LatentIndex(index) = latent.into();
        let raw = Fixed::new(self.log_var_bits).raw(value).ok_or(CodeError::NotANumber { index })?;
        self.set_log_var_raw(index, raw)
    }

    /// Sets the log-variance of one latent, in units of 2^-log_var_bits.
    ///
    /// # Errors
    ///
    /// If there is no such latent.
    pub fn set_log_var_raw(&mut self, latent: impl Into<LatentIndex>, raw: i16) -> Result<(), CodeError> {
        write(&mut self.log_var, latent.into(), self.latents, raw)
    }

    /// Sets the means and log-variances, `(L)` each.
    #[cfg(feature = "std")]
    pub(crate) fn set_all_raw(&mut self, means: &[i16], log_vars: &[i16]) {
        for (to, from) in self.mean.iter_mut().zip(means).chain(self.log_var.iter_mut().zip(log_vars)) {
            *to = *from;
        }
    }

    /// Whether a model with that many latents and fraction bits of means can decode it.
    pub(crate) fn check(&self, latents: usize, mean_bits: u8) -> Result<(), RunError> {
        if self.latents != latents {
            Err(RunError::Latents { expected: latents, found: self.latents })
        } else if self.mean_bits != mean_bits {
            Err(RunError::MeanBits { expected: mean_bits, found: self.mean_bits })
        } else {
            Ok(())
        }
    }

    /// The code with the mean of one latent changed, and nothing else.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set).
    pub fn with(mut self, latent: impl Into<LatentIndex>, value: f32) -> Result<Code, CodeError> {
        self.set(latent, value)?;
        Ok(self)
    }

    /// The code with one factor moved by `steps` of its standard deviations over the data, and nothing else.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set).
    pub fn step(self, factor: Factor<'_>, steps: f32) -> Result<Code, CodeError> {
        let LatentIndex(index) = factor.into();
        if index >= self.latents {
            return Err(CodeError::Latent { index, latents: self.latents });
        }
        self.with(index, self.mean(index) + steps * factor.scale)
    }
}

fn read(values: &[i16], LatentIndex(index): LatentIndex, bits: u8) -> f32 {
    values.get(index).map_or(f32::NAN, |raw| Fixed::new(bits).value(f32::from(*raw)))
}

fn write(values: &mut [i16], LatentIndex(index): LatentIndex, latents: usize, raw: i16) -> Result<(), CodeError> {
    let slot = values.get_mut(..latents).and_then(|values| values.get_mut(index));
    *slot.ok_or(CodeError::Latent { index, latents })? = raw;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_halves_away_from_zero_and_saturates() {
        let eighths = Fixed::new(3);
        let cases = [
            (0.0, 0),
            (0.0624, 0),
            (0.0625, 1),
            (-0.0625, -1),
            (-0.0624, 0),
            (0.1875, 2),
            (-0.1875, -2),
            (4095.875, 32767),
            (4095.99, 32767),
            (-4096.5, -32768),
            (f32::INFINITY, 32767),
            (f32::NEG_INFINITY, -32768),
            (f32::MIN_POSITIVE, 0),
        ];
        for (value, raw) in cases {
            assert_eq!(eighths.raw(value), Some(raw), "{value}");
        }
        assert_eq!(eighths.raw(f32::NAN), None);
    }

    #[test]
    fn every_int16_survives_the_way_through_f32() {
        for bits in 0..=15 {
            for raw in i16::MIN..=i16::MAX {
                let fixed = Fixed::new(bits);
                assert_eq!(fixed.raw(fixed.value(raw.into())), Some(raw));
            }
        }
    }
}
