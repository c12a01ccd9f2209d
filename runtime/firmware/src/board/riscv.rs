//! RISC-V: `minstret` counts instructions.

pub use riscv_rt::entry;

/// The counter runs from reset.
pub fn start_counter() {}

/// Instructions since reset.
pub fn instructions() -> u64 {
    riscv::register::minstret::read64()
}
