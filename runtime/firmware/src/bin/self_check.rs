//! Runs random models of all layer kinds and compares every number with the slow reference of the runtime's tests.
//!
//! `build/cases.rs` makes the models, and computes at build time what has to come out.
#![no_std]
#![no_main]

use core::fmt;

use semihosting::println;
use unbraid::{Arena, Code, Error, Model};
use unbraid_firmware::{board, program};

/// A model, what goes in and what comes out.
struct Case {
    name: &'static str,
    file: &'static [u8],
    /// Goes into the encoder, and makes `code`, means and log-variances; empty if there is none.
    pixels: &'static [u8],
    code: &'static [i16],
    /// Goes into the decoder, and makes `decoded`; empty if there is none.
    latents: &'static [i16],
    decoded: &'static [u8],
}

/// Starts at a multiple of 4.
#[repr(align(4))]
struct Aligned<T: ?Sized>(T);

/// A file that starts `skip` bytes behind a multiple of 4.
macro_rules! aligned {
    ($name:literal, $skip:literal) => {{
        const FILE: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/", $name)));
        FILE.0.split_at($skip).1
    }};
}

static CASES: &[Case] = &include!(concat!(env!("OUT_DIR"), "/cases.rs"));

/// Bytes that suffice for all, `cases::ARENA_LIMIT`, and 3 for odd addresses.
const ARENA: usize = 6144 + 3;

/// Which case went wrong.
struct Failure {
    name: &'static str,
    problem: Problem,
}

enum Problem {
    Error(Error),
    Arena,
    Code,
    Pixels,
}

impl<E: Into<Error>> From<E> for Problem {
    fn from(error: E) -> Self {
        Problem::Error(error.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.name)?;
        match &self.problem {
            Problem::Error(error) => error.fmt(f),
            Problem::Arena => f.write_str("needs more working memory than there is"),
            Problem::Code => f.write_str("the code is not the reference's"),
            Problem::Pixels => f.write_str("the pixels are not the reference's"),
        }
    }
}

#[board::entry]
fn main() -> ! {
    program::end(check_all())
}

fn check_all() -> Result<(), Failure> {
    for (index, case) in CASES.iter().enumerate() {
        case.check(index).map_err(|problem| Failure { name: case.name, problem })?;
    }
    println!("{} random models: every code and every pixel is the reference's", CASES.len());
    Ok(())
}

impl Case {
    /// `index` varies the address of the working memory, which has no byte more than promised.
    fn check(&self, index: usize) -> Result<(), Problem> {
        let model = Model::load(self.file)?;
        let mut arena = Arena::<ARENA>::new();
        let start = index / 4 % 4;
        if model.has_encoder() {
            let arena = arena.as_mut().get_mut(start..start + model.encode_arena_bytes()).ok_or(Problem::Arena)?;
            let code = model.encode(self.pixels, arena)?;
            if !code.means().iter().chain(code.log_vars()).eq(self.code) {
                return Err(Problem::Code);
            }
        }
        if model.has_decoder() {
            let arena = arena.as_mut().get_mut(start..start + model.decode_arena_bytes()).ok_or(Problem::Arena)?;
            let mut code = Code::new(&model);
            for (index, raw) in self.latents.iter().enumerate() {
                code.set_raw(index, *raw)?;
            }
            let mut same = true;
            model.decode(&code, arena, |y, row| {
                same &= self.decoded.chunks_exact(row.len()).nth(y) == Some(row);
            })?;
            if !same {
                return Err(Problem::Pixels);
            }
        }
        Ok(())
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    program::fail(info)
}
