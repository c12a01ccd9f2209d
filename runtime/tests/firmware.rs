//! What the firmware prints in QEMU (`firmware/expected/`) is what this machine computes.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use unbraid::Model;

const MODEL: &[u8] = include_bytes!("../../models/sprites-factorvae/model.int8.safetensors");
const GOLDEN: &str = include_str!("../../models/sprites-factorvae/golden.json");
/// Golden input 10.
const PICTURE: &[u8] = include_bytes!("../firmware/input.gray");

fn expected_outputs() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("firmware/expected");
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn every_board_makes_the_pixels_of_this_machine() {
    let model = Model::load(MODEL).unwrap();
    let mut arena = vec![0; model.arena_bytes()];
    let code = model.encode(PICTURE, &mut arena).unwrap();
    let code = code.with(model.factor("scale").unwrap(), 1.5).unwrap();
    let mut pixels = vec![0; model.image().len()];
    model.decode_into(&code, &mut arena, &mut pixels).unwrap();

    let hash: String = Sha256::digest(&pixels).iter().map(|byte| format!("{byte:02x}")).collect();
    let outputs = expected_outputs();
    assert_eq!(outputs.len(), 6);
    for path in outputs {
        let output = std::fs::read_to_string(&path).unwrap();
        let line = output.lines().find_map(|line| line.strip_prefix("SHA-256 of the pixels: "));
        assert_eq!(line, Some(hash.as_str()), "{}", path.display());
    }
}

#[test]
fn the_picture_is_the_models_golden_input() {
    let golden: serde_json::Value = serde_json::from_str(GOLDEN).unwrap();
    let means: Vec<i16> = serde_json::from_value(golden["means"][10].clone()).unwrap();
    let model = Model::load(MODEL).unwrap();
    let mut arena = vec![0; model.arena_bytes()];
    assert_eq!(model.encode(PICTURE, &mut arena).unwrap().means(), means);
}
