//! Runs 8-bit disentangling autoencoders without an allocator: encode an image, turn one factor, decode.
//!
//! A model file is made by the trainer's `unbraid quantize`. [`Model::load`] checks all of it and works in place, from
//! flash; working memory is an [`Arena`] whose size the compiler knows; images pass row by row.
//!
//! ```
//! use unbraid::{Arena, Model};
//!
//! const MODEL: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tiny.int8.safetensors"));
//!
//! fn main() -> Result<(), unbraid::Error> {
//!     let model = Model::load(MODEL)?;
//!     let mut arena = Arena::<{ unbraid::arena_bytes(MODEL) }>::new();
//!
//!     // (H, W, C) bytes, here 8 x 8 x 1.
//!     let pixels = [127; 64];
//!     let code = model.encode(&pixels, &mut arena)?;
//!
//!     // One factor, nothing else: to a value, or by standard deviations over the data.
//!     let rotation = model.factor("rotation")?;
//!     let turned = code.with(rotation, 1.5)?.step(rotation, -0.5)?;
//!
//!     // Rows come as they are made: no frame buffer.
//!     model.decode(&turned, &mut arena, |y, row| println!("{y}: {row:?}"))?;
//!     Ok(())
//! }
//! ```
//!
//! A camera's rows go in the same way:
//!
//! ```
//! # use unbraid::Model;
//! # fn encode(file: &[u8], camera: impl Iterator<Item = [u8; 8]>) -> Result<unbraid::Code, unbraid::Error> {
//! let model = Model::load(file)?;
//! let mut arena = vec![0; model.encode_arena_bytes()];
//! let mut encoder = model.encoder(&mut arena)?;
//! for row in camera {
//!     encoder.push_row(&row)?;
//! }
//! let code = encoder.finish()?;
//! # Ok(code)
//! # }
//! ```
//!
//! Nothing here panics, whatever the bytes: what a loaded model can do was checked by then.
//! All arithmetic is on integers and specified in `docs/format.md`: the same file and image give the same bytes on
//! every machine.
//!
//! # Features
//!
//! - `compact`: size before speed, for the smallest flash. One small kernel on every machine, none for an instruction set;
//!   the same bytes. `runtime/firmware/README.md` has what it saves and costs.
//! - `std`: the engine for vector units, [`Packed`]; writing model files (module `writer`); checking the safetensors header
//!   at load.
#![no_std]
#![deny(unsafe_code)]
#![warn(missing_docs)]
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[cfg(feature = "std")]
extern crate std;

mod arena;
mod autoencoder;
#[deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]
mod check;
#[deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]
mod checksum;
mod code;
mod error;
mod factor;
#[deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]
mod format;
#[cfg(feature = "std")]
mod header;
mod kernels;
mod layer;
#[deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]
mod load;
#[deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]
mod model;
mod names;
#[cfg(feature = "onnx")]
pub mod onnx;
#[cfg(feature = "std")]
mod packed;
#[deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]
mod plan;
mod profile;
mod stream;
#[cfg(feature = "std")]
pub mod writer;

pub use arena::{Arena, arena_bytes, checked_arena_bytes};
pub use autoencoder::{Autoencoder, Int8};
pub use code::{Code, CodeError, LatentIndex};
pub use error::{Error, Expected, LoadError, Place, RunError, UnknownFactor};
pub use factor::Factor;
pub use format::{MAX_LATENTS, MAX_LAYERS, MAX_NAME_BYTES};
#[cfg(feature = "std")]
pub use header::metadata;
pub use layer::{ImageShape, Layer, LayerKind, Shape};
pub use model::Model;
pub use names::{Array, Field, Part};
#[cfg(feature = "std")]
pub use packed::{Backend, PackError, Packed, UnknownBackend};
pub use profile::{Clock, Probe, Profile};
pub use stream::Encoder;
