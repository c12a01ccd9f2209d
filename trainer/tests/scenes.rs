//! The scenes: their order, that each factor shows, and that their bytes stay what they are.

use std::collections::HashSet;

use sha2::{Digest, Sha256};
use unbraid_trainer::data::{self, Dataset, scenes::Scenes};

/// Floor hue, wall hue, object hue, scale, shape, orientation.
const MIDDLE: [usize; 6] = [0, 5, 2, 4, 0, 7];

#[test]
fn every_index_has_its_own_factors_in_the_order_of_3d_shapes() {
    let scenes = data::open("scenes").unwrap();
    assert_eq!(scenes.len(), 480_000);
    for index in 0..scenes.len() {
        assert_eq!(scenes.index_of(&scenes.factor_values(index)), Some(index));
    }
    let sizes: Vec<_> = scenes.factors().iter().map(|factor| factor.size).collect();
    assert_eq!(sizes, [10, 10, 10, 8, 4, 15]);
    assert_eq!(scenes.factor_values(1), [0, 0, 0, 0, 0, 1]);
    assert_eq!(scenes.factor_values(15), [0, 0, 0, 0, 1, 0]);
    assert_eq!(scenes.factor_values(60), [0, 0, 0, 1, 0, 0]);
    assert_eq!(scenes.factor_values(480), [0, 0, 1, 0, 0, 0]);
    assert_eq!(scenes.factor_values(48_000), [1, 0, 0, 0, 0, 0]);
}

#[test]
fn every_value_of_a_factor_looks_different() {
    let scenes = Scenes::new();
    let views: HashSet<_> = (0..480).map(|index| scenes.batch(&[index]).unwrap()).collect();
    assert_eq!(views.len(), 480, "scale, shape and orientation");
    for factor in 0..3 {
        let hue = |value| {
            let mut values = MIDDLE;
            values[factor] = value;
            scenes.batch(&[scenes.index_of(&values).unwrap()]).unwrap()
        };
        let base = hue(0);
        for value in 1..10 {
            let painted = hue(value);
            let pixels = base.chunks(3).zip(painted.chunks(3));
            let changed = pixels.filter(|(a, b)| a.iter().zip(*b).any(|(a, b)| a.abs_diff(*b) > 20)).count();
            // The object has some hundred pixels; no hue paints more than its own part.
            assert!((300..3000).contains(&changed), "factor {factor}, value {value}: {changed} pixels");
        }
    }
}

#[test]
fn bytes_are_the_same_on_every_machine() {
    let scenes = Scenes::new();
    // All views, each in some hue.
    let indices: Vec<_> = (0..480).map(|view| view + 480 * (view * 617 % 1000)).collect();
    let hash = Sha256::digest(scenes.batch(&indices).unwrap());
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hash, "b7fb212752931858a9739123b79d989f9ad8c3bc466e44acbd1bad19f37600cf");
}
