//! Cortex-M: SysTick counts instructions in QEMU.
//!
//! Under `-icount shift=6` an instruction takes 2^6 = 64 ns of the machine's time, so that ticks of its processor clock
//! are instructions but for a constant. SysTick has 24 bits; its exception counts the wraps.

use core::sync::atomic::{AtomicU32, Ordering};

use cortex_m::peripheral::syst::SystClkSource;
use cortex_m::peripheral::{Peripherals, SYST};
pub use cortex_m_rt::entry;
use cortex_m_rt::{ExceptionFrame, exception};

/// Instructions are ticks · `PER_TICK` / 256: the machine's clock period, in ns, over 64.
const PER_TICK: u64 = if cfg!(feature = "cortex-m0") {
    // 16 MHz.
    250
} else if cfg!(feature = "cortex-m55") {
    // 32 MHz.
    125
} else {
    // 25 MHz.
    160
};

/// Largest value of the 24-bit counter, which counts down.
const RELOAD: u32 = 0xff_ffff;

static WRAPS: AtomicU32 = AtomicU32::new(0);

/// Starts the counter.
pub fn start_counter() {
    if let Some(mut peripherals) = Peripherals::take() {
        let counter = &mut peripherals.SYST;
        counter.set_clock_source(SystClkSource::Core);
        counter.set_reload(RELOAD);
        counter.clear_current();
        counter.enable_interrupt();
        counter.enable_counter();
    }
}

/// Instructions since [`start_counter`].
pub fn instructions() -> u64 {
    loop {
        let wraps = WRAPS.load(Ordering::Relaxed);
        let ticks = RELOAD - SYST::get_current();
        if WRAPS.load(Ordering::Relaxed) == wraps {
            let ticks = (u64::from(wraps) << 24) | u64::from(ticks);
            return (ticks * PER_TICK) >> 8;
        }
    }
}

#[exception]
fn SysTick() {
    // One core, and no other exception writes it.
    WRAPS.store(WRAPS.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

#[exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    crate::program::fail(format_args!("hard fault at {:#x}", frame.pc()))
}
