//! Random models, their inputs, and what the slow reference in the runtime's tests computes from them.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use unbraid::Model;
use unbraid::writer;

use crate::networks::{self, Random};
use crate::reference::Reference;

/// What the smallest board's stack has room for.
const ARENA_LIMIT: usize = 6144;

/// Writes the models as files, and `cases.rs`: an array of `Case`.
pub fn write(out: &Path) {
    let specs = (0..75).map(networks::random).chain((0..8).map(networks::odd_widths));
    let normalized = (75..150).map(networks::random).chain((8..16).map(networks::odd_widths));
    let specs = specs.chain(normalized.map(networks::normalized));
    let mut cases = String::from("[\n");
    for (index, spec) in specs.enumerate() {
        let file = writer::write(&spec).unwrap();
        let model = Model::load(&file).unwrap();
        if model.arena_bytes() > ARENA_LIMIT {
            continue;
        }
        let random = &mut Random(index as u64);
        let pixels = random.bytes(spec.image.len());
        let latents = random.latents(spec.latents);
        let reference = Reference::parse(&file);
        let code = if model.has_encoder() { reference.encode(&pixels) } else { vec![] };
        let decoded = if model.has_decoder() { reference.decode(&latents) } else { vec![] };

        // Any address will do: files start 0 to 3 bytes behind a multiple of 4.
        let name = format!("case{index}");
        let mut shifted = vec![0; index % 4];
        shifted.extend(&file);
        fs::write(out.join(&name), shifted).unwrap();
        writeln!(
            cases,
            "    Case {{ name: {name:?}, file: aligned!({name:?}, {}), pixels: &{pixels:?}, latents: &{latents:?}, \
             code: &{code:?}, decoded: &{decoded:?} }},",
            index % 4
        )
        .unwrap();
    }
    cases.push(']');
    fs::write(out.join("cases.rs"), cases).unwrap();
}
