//! Instructions of layers that were not counted, from those that were.

/// A layer that was counted.
#[derive(Debug, Clone, Copy)]
pub struct Point {
    pub macs: f64,
    pub outputs: f64,
    pub instructions: f64,
}

/// instructions = per_mac · MACs + per_output · outputs
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fit {
    per_mac: f64,
    per_output: f64,
}

impl Fit {
    /// The fit with the least sum of squared relative errors of all whose coefficients are not negative.
    ///
    /// `None` without points.
    pub fn new(points: &[Point]) -> Option<Fit> {
        let on_macs = Fit { per_mac: ratio(points, |point| point.macs), per_output: 0.0 };
        let on_outputs = Fit { per_mac: 0.0, per_output: ratio(points, |point| point.outputs) };
        // Where the free minimum has a negative coefficient, the constrained one has a 0 in its place.
        [on_both(points), Some(on_macs), Some(on_outputs)]
            .into_iter()
            .flatten()
            .filter(|fit| !points.is_empty() && fit.per_mac >= 0.0 && fit.per_output >= 0.0)
            .min_by(|a, b| a.squares(points).total_cmp(&b.squares(points)))
    }

    pub fn instructions(&self, macs: f64, outputs: f64) -> f64 {
        self.per_mac * macs + self.per_output * outputs
    }

    /// (predicted - counted) / counted
    fn error(&self, point: &Point) -> f64 {
        self.instructions(point.macs, point.outputs) / point.instructions - 1.0
    }

    fn squares(&self, points: &[Point]) -> f64 {
        points.iter().map(|point| self.error(point).powi(2)).sum()
    }
}

/// The relative error that a layer's prediction has when it is made from the others: each in turn, root mean square.
///
/// `None` with fewer than two points.
pub fn leave_one_out(points: &[Point]) -> Option<f64> {
    let squares = points.iter().enumerate().map(|(left_out, point)| {
        let mut others = points.to_vec();
        others.remove(left_out);
        Fit::new(&others).map(|fit| fit.error(point).powi(2))
    });
    let sum: f64 = squares.sum::<Option<_>>()?;
    (!points.is_empty()).then(|| (sum / points.len() as f64).sqrt())
}

/// Least squares of relative errors with one variable.
fn ratio(points: &[Point], variable: impl Fn(&Point) -> f64) -> f64 {
    let relative = || points.iter().map(|point| variable(point) / point.instructions);
    let squares = relative().map(|x| x * x).sum::<f64>();
    if squares > 0.0 { relative().sum::<f64>() / squares } else { 0.0 }
}

/// Least squares of relative errors with both, by the normal equations; `None` where they have no single solution.
fn on_both(points: &[Point]) -> Option<Fit> {
    let [mut mm, mut mo, mut oo, mut m, mut o] = [0.0; 5];
    for point in points {
        let (x, y) = (point.macs / point.instructions, point.outputs / point.instructions);
        mm += x * x;
        mo += x * y;
        oo += y * y;
        m += x;
        o += y;
    }
    let determinant = mm * oo - mo * mo;
    (determinant > 1e-9 * mm * oo)
        .then(|| Fit { per_mac: (m * oo - o * mo) / determinant, per_output: (o * mm - m * mo) / determinant })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(instructions: impl Fn(f64, f64) -> f64) -> Vec<Point> {
        let sizes = [(500.0, 30.0), (4000.0, 8.0), (2000.0, 4.0), (1000.0, 1.0)];
        sizes.map(|(macs, outputs)| Point { macs, outputs, instructions: instructions(macs, outputs) }).to_vec()
    }

    #[test]
    fn what_is_linear_is_found() {
        let points = points(|macs, outputs| 1.5 * macs + 40.0 * outputs);
        let fit = Fit::new(&points).unwrap();
        assert!((fit.per_mac - 1.5).abs() < 1e-9 && (fit.per_output - 40.0).abs() < 1e-6, "{fit:?}");
        assert!((fit.instructions(100.0, 2.0) - 230.0).abs() < 1e-6);
        assert!(leave_one_out(&points).unwrap() < 1e-9);
    }

    #[test]
    fn the_error_is_that_of_a_layer_that_took_no_part() {
        let mut points = points(|macs, _| 2.0 * macs);
        points.truncate(2);
        points[1].instructions = 3.0 * points[1].macs;
        points.iter_mut().for_each(|point| point.outputs = point.macs);
        // Each predicts the other: 2/3 - 1 and 3/2 - 1.
        let expected = ((1.0 / 9.0 + 1.0 / 4.0) / 2.0_f64).sqrt();
        assert!((leave_one_out(&points).unwrap() - expected).abs() < 1e-9);
    }

    #[test]
    fn no_coefficient_is_negative() {
        let fit = Fit::new(&points(|macs, outputs| 2.0 * macs - 5.0 * outputs)).unwrap();
        assert!(fit.per_mac > 1.0 && fit.per_output == 0.0, "{fit:?}");
    }

    #[test]
    fn few_points_are_not_enough_for_both_or_an_error() {
        assert_eq!(Fit::new(&[]), None);
        let one = [Point { macs: 10.0, outputs: 1.0, instructions: 30.0 }];
        assert_eq!(Fit::new(&one), Some(Fit { per_mac: 3.0, per_output: 0.0 }));
        assert_eq!(leave_one_out(&one), None);
        assert_eq!(leave_one_out(&[]), None);
    }
}
