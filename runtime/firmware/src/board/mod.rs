//! The board, chosen by a feature of the crate: its start code and its instruction counter.

#[cfg(not(feature = "rv32imc"))]
mod cortex_m;
#[cfg(feature = "rv32imc")]
mod riscv;

#[cfg(not(feature = "rv32imc"))]
pub use cortex_m::{entry, instructions, start_counter};
#[cfg(feature = "rv32imc")]
pub use riscv::{entry, instructions, start_counter};
