//! Puts the board's memory map where the linker finds it, and makes the models that the programs embed.

use std::path::Path;
use std::{env, fs};

#[path = "build/cases.rs"]
mod cases;
#[path = "../tests/networks/mod.rs"]
mod networks;
#[path = "../tests/reference/mod.rs"]
mod reference;

/// Cargo features that choose a board, the files of `boards/`.
const BOARDS: [&str; 6] = ["cortex-m0", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m55", "rv32imc"];

fn main() {
    let chosen: Vec<_> = BOARDS.into_iter().filter(|board| env::var_os(feature(board)).is_some()).collect();
    let [board] = chosen[..] else {
        panic!("build with one of the features {}; found {chosen:?}", BOARDS.join(", "));
    };
    let out = env::var("OUT_DIR").unwrap();
    let memory = format!("boards/{board}.x");
    fs::copy(&memory, Path::new(&out).join("memory.x")).unwrap();
    for path in [&memory, "build.rs", "build", "../tests/networks", "../tests/reference"] {
        println!("cargo::rerun-if-changed={path}");
    }
    println!("cargo::rustc-link-search={out}");
    if board == "rv32imc" {
        println!("cargo::rustc-link-arg=-Tmemory.x");
    }
    println!("cargo::rustc-link-arg=-Tlink.x");

    cases::write(Path::new(&out));
    let color = unbraid::writer::write(&networks::color(1)).unwrap();
    fs::write(Path::new(&out).join("color.int8.safetensors"), color).unwrap();
}

/// The variable that Cargo sets for a feature.
fn feature(board: &str) -> String {
    format!("CARGO_FEATURE_{}", board.to_uppercase().replace('-', "_"))
}
