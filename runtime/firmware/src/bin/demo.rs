//! Encodes a picture, turns one factor, decodes, draws, and says what each step takes.
#![no_std]
#![no_main]

use semihosting::{print, println};
use sha2::{Digest, Sha256};
use unbraid::{Arena, Code, Error, Model};
use unbraid_firmware::{board, measure, program};

const MODEL: &[u8] = include_bytes!("../../../../models/sprites-factorvae/model.int8.safetensors");
/// Golden input 10 of the model, counted from 0: 64x64x1.
const PICTURE: &[u8] = include_bytes!("../../input.gray");
const ARENA: usize = unbraid::arena_bytes(MODEL);

#[board::entry]
fn main() -> ! {
    board::start_counter();
    program::end(demo())
}

fn demo() -> Result<(), Error> {
    match measure::load(MODEL) {
        Ok(ref model) => turn(model),
        Err(error) => Err(error),
    }
}

// The working memory is on the stack from here on only.
#[inline(never)]
fn turn(model: &Model<'_>) -> Result<(), Error> {
    let mut arena = Arena::<ARENA>::new();
    let mut code = Code::new(model);

    measure::encode(model, PICTURE, arena.as_mut(), &mut code)?;
    code.set(model.factor("scale")?, 1.5)?;
    measure::decode(model, &code, arena.as_mut())?;
    show(model, &code, &mut arena)
}

/// Draws the picture of a code with characters, and prints a hash of its pixels.
#[inline(never)]
fn show(model: &Model<'_>, code: &Code, arena: &mut Arena<ARENA>) -> Result<(), Error> {
    let mut hash = Sha256::new();
    model.decode(code, arena, |y, row| {
        hash.update(row);
        if y.is_multiple_of(2) {
            draw_row(row);
        }
    })?;
    print!("SHA-256 of the pixels: ");
    for byte in hash.finalize() {
        print!("{byte:02x}");
    }
    println!();
    Ok(())
}

/// One character a pixel.
fn draw_row(row: &[u8]) {
    const SHADES: &[u8] = b" .:-=+*#%@";
    let shade = |pixel: &u8| char::from(SHADES[usize::from(*pixel) * SHADES.len() / 256]);
    row.iter().for_each(|pixel| print!("{}", shade(pixel)));
    println!();
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    program::fail(info)
}
