//! Encodes and decodes a 64x64x3 image with random weights, and says what that takes.
#![no_std]
#![no_main]

use unbraid::{Arena, Code, Error, Model};
use unbraid_firmware::{board, measure, program};

/// The FactorVAE net for color images, made by `build.rs`.
const MODEL: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/color.int8.safetensors"));
static PICTURE: [u8; 64 * 64 * 3] = [100; 64 * 64 * 3];

#[board::entry]
fn main() -> ! {
    board::start_counter();
    program::end(color())
}

fn color() -> Result<(), Error> {
    match measure::load(MODEL) {
        Ok(ref model) => encode_and_decode(model),
        Err(error) => Err(error),
    }
}

#[inline(never)]
fn encode_and_decode(model: &Model<'_>) -> Result<(), Error> {
    let mut arena = Arena::<{ unbraid::arena_bytes(MODEL) }>::new();
    let mut code = Code::new(model);
    measure::encode(model, &PICTURE, arena.as_mut(), &mut code)?;
    Ok(measure::decode(model, &code, arena.as_mut())?)
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    program::fail(info)
}
