//! The closed-form sprites against published frames of the data set, and their indexing.

use candle_core::Tensor;
use unbraid_trainer::data::{self, Dataset, sprites::Sprites};

#[test]
fn agrees_with_published_frames() {
    let read = |name| Tensor::read_npy(format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let frames = read("dsprites-frames.npy").to_vec2::<u8>().unwrap();
    let labels = read("dsprites-labels.npy").to_vec2::<i64>().unwrap();
    assert_eq!((frames.len(), labels.len()), (320, 320));

    let sprites = Sprites::new();
    let mut wrong = 0;
    for (frame, label) in frames.iter().zip(&labels) {
        let values: Vec<usize> = label.iter().map(|&v| v as usize).collect();
        let image = sprites.batch(&[sprites.index_of(&values).unwrap()]).unwrap();
        // Eight pixels a byte, the first in the highest bit.
        let frame = frame.iter().flat_map(|byte| (0..8).map(move |bit| 255 * (byte >> (7 - bit) & 1)));
        let differing = image.into_iter().zip(frame).filter(|(a, b)| a != b).count();
        assert!(differing <= 4, "{values:?}: {differing} pixels differ");
        wrong += differing;
    }
    let pixels = 320 * 64 * 64;
    assert!(wrong * 10_000 <= pixels, "{wrong} of {pixels} pixels differ: more than 0.01 %");
}

#[test]
fn every_index_has_its_own_factors() {
    let sprites = data::open("sprites").unwrap();
    assert_eq!(sprites.len(), 737_280);
    for index in 0..sprites.len() {
        assert_eq!(sprites.index_of(&sprites.factor_values(index)), Some(index));
    }
    // The published order: y is the fastest, then x, rotation, scale, shape.
    assert_eq!(sprites.factor_values(1), [0, 0, 0, 0, 1]);
    assert_eq!(sprites.factor_values(32), [0, 0, 0, 1, 0]);
    assert_eq!(sprites.factor_values(1024), [0, 0, 1, 0, 0]);
    assert_eq!(sprites.factor_values(40_960), [0, 1, 0, 0, 0]);
    assert_eq!(sprites.factor_values(245_760), [1, 0, 0, 0, 0]);
}

#[test]
fn one_image_in_64_is_held_out() {
    let held_out = (0..737_280).filter(|&i| data::is_held_out(i)).count();
    assert!((11_000..12_100).contains(&held_out), "{held_out}");
}

#[test]
fn an_unknown_data_set_is_named() {
    let error = data::open("sprits").err().unwrap().to_string();
    assert!(error.contains("sprits") && error.contains("sprites"), "{error}");
}
