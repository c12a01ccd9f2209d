//! Calls the whole interface, and links only if no panic can be reached from it.
//!
//! The panic handler calls a function that there is not. With the feature `deliberate-panic` there is a panic to reach.
#![no_std]
#![no_main]

use core::hint::black_box;
use core::panic::PanicInfo;

#[cfg(not(feature = "rv32imc"))]
use cortex_m_rt::entry;
#[cfg(feature = "rv32imc")]
use riscv_rt::entry;
use unbraid::{Arena, Autoencoder, Code, Encoder, Error, Factor, Int8, Layer, Model, Profile, RunError};

const MODEL: &[u8] = include_bytes!("../../../../models/sprites-factorvae/model.int8.safetensors");
const ARENA: usize = unbraid::arena_bytes(MODEL);

#[entry]
fn main() -> ! {
    let _ = black_box(run(black_box(MODEL)));
    loop {
        core::hint::spin_loop();
    }
}

/// Nothing is known of the values: all are read through `black_box`.
fn run(file: &[u8]) -> Result<(), Error> {
    black_box(unbraid::checked_arena_bytes(file));
    let model = Model::load(file)?;
    let mut arena = Arena::<ARENA>::new();
    describe(&model);
    let mut code = encode(&model, arena.as_mut())?;
    edit(&model, &mut code)?;
    decode(&model, &code, arena.as_mut())?;
    both(&mut Int8::new(model, arena)?)?;
    if cfg!(feature = "deliberate-panic") {
        assert!(code.latents() > black_box(0), "no latents");
    }
    Ok(())
}

fn describe(model: &Model<'_>) {
    let numbers = (model.image().len(), model.latents(), model.mean_bits(), model.log_var_bits());
    let bytes = (model.encode_arena_bytes(), model.decode_arena_bytes(), model.arena_bytes());
    black_box((numbers, bytes, model.has_encoder(), model.has_decoder()));
    model.encoder_layers().chain(model.decoder_layers()).for_each(|layer| describe_layer(&layer));
    model.factors().for_each(|factor: Factor<'_>| {
        black_box(factor);
    });
}

fn describe_layer(layer: &Layer<'_>) {
    black_box((layer.kind().name(), layer.input(), layer.output(), layer.kernel(), layer.stride(), layer.padding()));
    black_box((layer.macs(), layer.weight_bytes(), layer.parameter_bytes()));
}

fn encode(model: &Model<'_>, arena: &mut [u8]) -> Result<Code, Error> {
    let pixels = black_box(&[0; 64 * 64][..]);
    let mut profile = Profile::new(|| black_box(0));
    black_box(model.encode(pixels, arena)?);
    model.encode_into(pixels, arena, &mut black_box(Code::new(model)))?;
    black_box(model.encode_profiled(pixels, arena, &mut profile)?);
    black_box((profile.ticks(black_box(0)), profile.total()));
    profile.reset();
    let mut encoder: Encoder<'_> = model.encoder(arena)?;
    for row in pixels.chunks(64) {
        encoder.push_row(row)?;
        encoder.push_row_profiled(row, &mut profile)?;
    }
    Ok(encoder.finish()?)
}

fn edit(model: &Model<'_>, code: &mut Code) -> Result<(), Error> {
    let factor = model.factor(black_box("scale"))?;
    let (latent, value, raw) = (black_box(0), black_box(1.5), black_box(1));
    *code = code.with(factor, value)?.step(factor, value)?.with(latent, value)?;
    code.set(factor, value)?;
    code.set_raw(latent, raw)?;
    code.set_log_var(latent, value)?;
    code.set_log_var_raw(latent, raw)?;
    black_box((code.mean(factor), code.log_var(latent), code.mean_bits(), code.log_var_bits()));
    black_box((code.means(), code.log_vars(), Code::new(model), Code::zeros(latent, black_box(0), black_box(0))?));
    Ok(())
}

fn decode(model: &Model<'_>, code: &Code, arena: &mut [u8]) -> Result<(), Error> {
    let mut profile = Profile::new(|| black_box(0));
    let mut pixels = black_box([0; 64 * 64]);
    let draw = |y: usize, row: &[u8]| {
        black_box((y, row));
    };
    model.decode(code, arena, draw)?;
    model.decode_profiled(code, arena, &mut profile, draw)?;
    model.decode_into(code, arena, &mut pixels)?;
    black_box(pixels);
    Ok(())
}

fn both(model: &mut impl Autoencoder<Error = RunError>) -> Result<(), Error> {
    let mut pixels = black_box([0; 64 * 64]);
    let code = model.encode(&pixels)?;
    model.decode(&code, &mut pixels)?;
    black_box((pixels, model.image(), model.latents()));
    Ok(())
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    unsafe extern "C" {
        fn a_panic_can_be_reached() -> !;
    }
    // SAFETY: nothing of that name exists, so that this does not link where it could be called.
    unsafe { a_panic_can_be_reached() }
}
