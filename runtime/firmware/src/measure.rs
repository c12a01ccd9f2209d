//! What encoding and decoding cost: instructions, layer by layer, and stack.

use semihosting::println;
use unbraid::{Code, Error, Layer, Model, Profile, RunError};

use crate::{board, stack};

/// What one call took.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// Instructions executed.
    pub instructions: u64,
    /// Bytes from the top of the stack to the deepest one written.
    pub stack: usize,
}

impl Cost {
    /// Makes a call twice, for its stack and for its instructions.
    #[inline(always)]
    pub fn of<T>(mut call: impl FnMut() -> T) -> (T, Cost) {
        stack::paint();
        let _ = call();
        let stack = stack::reached();
        let start = board::instructions();
        let result = call();
        (result, Cost { instructions: board::instructions() - start, stack })
    }
}

/// Loads a model and prints what that takes.
#[inline(never)]
pub fn load(file: &[u8]) -> Result<Model<'_>, Error> {
    let (model, cost) = Cost::of(|| Model::load(file));
    println!("load: {} instructions, {} bytes of stack", cost.instructions, cost.stack);
    Ok(model?)
}

/// Encodes into `code` and prints what that takes. `arena` lies on the stack.
#[inline(never)]
pub fn encode(model: &Model<'_>, pixels: &[u8], arena: &mut [u8], code: &mut Code) -> Result<(), RunError> {
    let (result, cost) = Cost::of(|| model.encode_into(pixels, arena, code));
    print("encode", cost, model.encode_arena_bytes(), arena.len());
    encode_layers(model, pixels, arena)?;
    result
}

/// Decodes and prints what that takes. `arena` lies on the stack.
#[inline(never)]
pub fn decode(model: &Model<'_>, code: &Code, arena: &mut [u8]) -> Result<(), RunError> {
    let (result, cost) = Cost::of(|| model.decode(code, arena, |_, _| ()));
    print("decode", cost, model.decode_arena_bytes(), arena.len());
    decode_layers(model, code, arena)?;
    result
}

#[inline(never)]
fn print(what: &str, cost: Cost, arena_needed: usize, arena_on_stack: usize) {
    let stack = cost.stack - arena_on_stack;
    println!("{what}: {} instructions, {arena_needed} bytes of arena, {stack} bytes of stack", cost.instructions);
}

#[inline(never)]
fn encode_layers(model: &Model<'_>, pixels: &[u8], arena: &mut [u8]) -> Result<(), RunError> {
    let mut profile = Profile::new(board::instructions as fn() -> u64);
    model.encode_profiled(pixels, arena, &mut profile)?;
    print_layers(model.encoder_layers(), &profile);
    Ok(())
}

#[inline(never)]
fn decode_layers(model: &Model<'_>, code: &Code, arena: &mut [u8]) -> Result<(), RunError> {
    let mut profile = Profile::new(board::instructions as fn() -> u64);
    model.decode_profiled(code, arena, &mut profile, |_, _| ())?;
    print_layers(model.decoder_layers(), &profile);
    Ok(())
}

/// Prints the instructions of each layer, without those that read the counter around each row.
fn print_layers<'a>(layers: impl Iterator<Item = Layer<'a>>, profile: &Profile<fn() -> u64>) {
    let start = board::instructions();
    let reading = board::instructions() - start;
    for (index, layer) in layers.enumerate() {
        let shape = layer.output();
        let instructions = profile.ticks(index).saturating_sub(shape.height as u64 * reading);
        let (name, outputs, macs) = (layer.kind().name(), shape.len(), layer.macs());
        println!("  {index} {name}: {outputs} outputs, {macs} multiply-adds, {instructions} instructions");
    }
}
