//! Elementary functions without a call or a branch, so that loops over them become vectors; the same bits on every machine.

/// e^x for x ≤ 0 to 2 units in the last place; 0 below -87.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let (fraction, power) = exp_parts(x);
    if x < -87.0 { 0.0 } else { (fraction + 1.0) * power }
}

/// e^x - 1 for x ≤ 0 to 4 units in the last place.
#[inline(always)]
pub fn exp_m1(x: f32) -> f32 {
    let (fraction, power) = exp_parts(x);
    fraction * power + (power - 1.0)
}

/// f and 2^k of e^x = (1 + f)·2^k, x ≤ 0; x below -87 counts as -87.
#[inline(always)]
fn exp_parts(x: f32) -> (f32, f32) {
    // x = k·ln 2 + r with |r| ≤ ln(2)/2; adding and subtracting 1.5·2^23 rounds to an integer.
    const ROUND: f32 = 12_582_912.0;
    // Not `max`, which would lose a NaN.
    let clamped = if x < -87.0 { -87.0 } else { x };
    let k = (clamped * std::f32::consts::LOG2_E + ROUND) - ROUND;
    // ln 2 in two parts, the first exact when multiplied by k.
    let r = (clamped - k * 0.693_359_4) - k * -2.121_944_4e-4;
    // The Taylor series, whose next term is below 2e-8 here.
    let series = 1.0 / 5040.0;
    let series = series * r + 1.0 / 720.0;
    let series = series * r + 1.0 / 120.0;
    let series = series * r + 1.0 / 24.0;
    let series = series * r + 1.0 / 6.0;
    let fraction = (series * r + 0.5) * r * r + r;
    // 2^k by its exponent bits.
    (fraction, f32::from_bits(((k + 127.0) as i32 as u32) << 23))
}

/// ln(1 + e) for e in [0, 1] to 2 units in the last place: ln u = 2·artanh((u - 1)/(u + 1)).
#[inline(always)]
pub fn ln_1p(e: f32) -> f32 {
    let s = e / (2.0 + e);
    let q = s * s;
    // The next term is below 2e-8 of the sum.
    let series = 1.0 / 13.0;
    let series = series * q + 1.0 / 11.0;
    let series = series * q + 1.0 / 9.0;
    let series = series * q + 1.0 / 7.0;
    let series = series * q + 1.0 / 5.0;
    let series = series * q + 1.0 / 3.0;
    2.0 * s * (series * q + 1.0)
}

/// The hyperbolic tangent to 4 units in the last place: with m = e^(-2|x|) - 1, tanh|x| = -m / (2 + m).
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let m = exp_m1(-2.0 * x.abs());
    (-m / (2.0 + m)).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_and_ln_1p_are_the_standard_librarys() {
        for i in 0..=200_000 {
            let x = -100.0 * i as f32 / 200_000.0;
            let (ours, theirs) = (exp(x), f64::from(x).exp());
            let relative = (f64::from(ours) - theirs).abs() / theirs;
            assert!(relative < 3e-7 || (x < -87.0 && ours == 0.0), "exp({x}) = {ours}, expected {theirs}");
            let e = i as f32 / 200_000.0;
            let (ours, theirs) = (ln_1p(e), f64::from(e).ln_1p());
            assert!((f64::from(ours) - theirs).abs() <= 3e-7 * theirs, "ln_1p({e}) = {ours}, expected {theirs}");
        }
        assert!(exp(f32::NAN).is_nan());
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
    }

    #[test]
    fn tanh_is_the_standard_librarys() {
        for i in -200_000..=200_000 {
            for x in [i as f32 / 10_000.0, i as f32 * 1e-9] {
                let (ours, theirs) = (f64::from(tanh(x)), f64::from(x).tanh());
                assert!((ours - theirs).abs() <= 5e-7 * theirs.abs(), "tanh({x}) = {ours}, expected {theirs}");
            }
        }
        assert!(tanh(f32::NAN).is_nan());
        assert_eq!((tanh(f32::INFINITY), tanh(f32::NEG_INFINITY), tanh(1e30)), (1.0, -1.0, 1.0));
    }
}
