//! A figure that is known between two ends.

use std::fmt;
use std::ops::{Add, AddAssign, Mul};

use serde::Serialize;

/// Anything from `low` to `high`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Range {
    pub low: f64,
    pub high: f64,
}

impl Range {
    pub const fn new(low: f64, high: f64) -> Self {
        Range { low, high }
    }

    pub const fn exactly(value: f64) -> Self {
        Range { low: value, high: value }
    }

    pub fn middle(self) -> f64 {
        f64::midpoint(self.low, self.high)
    }
}

impl Add for Range {
    type Output = Range;

    fn add(self, other: Range) -> Range {
        Range { low: self.low + other.low, high: self.high + other.high }
    }
}

impl AddAssign for Range {
    fn add_assign(&mut self, other: Range) {
        *self = *self + other;
    }
}

/// By a factor that is not negative.
impl Mul<f64> for Range {
    type Output = Range;

    fn mul(self, factor: f64) -> Range {
        Range { low: self.low * factor, high: self.high * factor }
    }
}

/// For ends that are not negative.
impl Mul for Range {
    type Output = Range;

    fn mul(self, other: Range) -> Range {
        Range { low: self.low * other.low, high: self.high * other.high }
    }
}

/// `12.3 (10.1 to 14.5)`; two digits behind the point below 1.
impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = if self.middle() < 1.0 { 2 } else { 1 };
        write!(f, "{:.digits$} ({:.digits$} to {:.digits$})", self.middle(), self.low, self.high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_added_and_multiplied() {
        let range = (Range::new(1.0, 2.0) + Range::exactly(1.0)) * Range::new(0.5, 2.0) * 2.0;
        assert_eq!(range, Range::new(2.0, 12.0));
        assert_eq!(range.to_string(), "7.0 (2.0 to 12.0)");
        assert_eq!(Range::new(0.25, 0.75).to_string(), "0.50 (0.25 to 0.75)");
    }
}
