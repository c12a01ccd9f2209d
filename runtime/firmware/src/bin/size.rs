//! Loads, encodes, turns a factor and decodes, and does nothing else: its code is the runtime's, measured for size.
#![no_std]
#![no_main]

use core::hint::black_box;
use core::panic::PanicInfo;

#[cfg(not(feature = "rv32imc"))]
use cortex_m_rt::entry;
#[cfg(feature = "rv32imc")]
use riscv_rt::entry;
use unbraid::{Arena, Error, Model};

const MODEL: &[u8] = include_bytes!("../../../../models/sprites-factorvae/model.int8.safetensors");

#[entry]
fn main() -> ! {
    let mut arena = Arena::<{ unbraid::arena_bytes(MODEL) }>::new();
    let camera = black_box([0; 64 * 64]);
    let _ = run(MODEL, &camera, arena.as_mut(), "scale", 1.5, |row| {
        black_box(row);
    });
    loop {
        core::hint::spin_loop();
    }
}

/// Knows nothing of its arguments, as they are read through `black_box`.
#[inline(never)]
fn run(
    file: &[u8],
    camera: &[u8],
    arena: &mut [u8],
    factor: &str,
    value: f32,
    mut display: impl FnMut(&[u8]),
) -> Result<(), Error> {
    let model = Model::load(black_box(file))?;
    let code = model.encode(black_box(camera), black_box(arena))?;
    let code = code.with(model.factor(black_box(factor))?, black_box(value))?;
    model.decode(&code, arena, |_, row| display(row))?;
    Ok(())
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
