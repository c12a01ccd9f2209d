//! Damaged and forged files are refused. Forged plans under a device's reader: `src/load.rs`.

mod networks;

use networks::Random;
use unbraid::{LoadError, Model, Part, checked_arena_bytes, writer};

const TINY: &[u8] = include_bytes!("data/tiny.int8.safetensors");

#[test]
fn every_truncation() {
    for length in 0..TINY.len() {
        assert!(Model::load(&TINY[..length]).is_err(), "{length} bytes load");
    }
    assert!(Model::load(&[TINY, &[0]].concat()).is_err());
}

#[test]
fn every_flipped_bit() {
    let start = 8 + u64::from_le_bytes(TINY[..8].try_into().unwrap()) as usize;
    for bit in 0..8 * TINY.len() {
        let mut file = TINY.to_vec();
        file[bit / 8] ^= 1 << (bit % 8);
        // Only strings for people may have changed.
        if Model::load(&file).is_ok() {
            assert!((8..start).contains(&(bit / 8)), "bit {bit} flipped");
        }
    }
}

#[test]
fn errors_name_the_cause() {
    let start = 8 + u64::from_le_bytes(TINY[..8].try_into().unwrap()) as usize;
    let error = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut file = TINY.to_vec();
        change(&mut file);
        Model::load(&file).unwrap_err()
    };
    assert!(matches!(error(&|file| file.truncate(5)), LoadError::Truncated { expected: 8, found: 5, .. }));
    assert!(matches!(error(&|file| file[7] = 1), LoadError::Truncated { part: Part::Header, .. }));
    assert!(matches!(error(&|file| file[start] = b'X'), LoadError::Magic { .. }));
    assert!(matches!(error(&|file| file[start + 8] = 2), LoadError::Version { found: 2, expected: 1 }));
    assert!(matches!(error(&|file| *file.last_mut().unwrap() ^= 1), LoadError::Checksum { .. }));
    assert!(matches!(
        error(&|file| file.truncate(file.len() - 1)),
        LoadError::Truncated { part: Part::DataSection, .. }
    ));
    let rename = |from: &str, to: &str| {
        let header = std::str::from_utf8(&TINY[8..start]).unwrap().replacen(from, to, 1);
        assert_eq!(header.len(), start - 8);
        error(&|file| file[8..start].copy_from_slice(header.as_bytes()))
    };
    assert!(matches!(rename("encoder.1.bias", "encoder.1.bats"), LoadError::MissingTensor { .. }));
    let other = rename("\"dtype\":\"I32\"", "\"dtype\":\"F32\"");
    assert!(matches!(other, LoadError::Tensor { field: "dtype", .. }), "{other}");
    assert!(matches!(rename("\"plan\"", "\"pl\\n\""), LoadError::Json { .. } | LoadError::MissingTensor { .. }));
}

#[test]
fn bytes_of_random_networks_overwritten() {
    for seed in 0..400 {
        let random = &mut Random(seed);
        let mut file = writer::write(&networks::random(seed)).unwrap();
        for _ in 0..random.between(1, 4) {
            let at = random.between(0, file.len() - 1);
            file[at] = random.next() as u8;
        }
        let _ = Model::load(&file);
        let _ = checked_arena_bytes(&file);
    }
}
