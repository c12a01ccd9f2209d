//! How deep the stack gets: it is painted before a call, and looked at after it.

use core::hint::black_box;
use core::ops::Range;
use core::ptr;

/// What no frame is likely to hold.
const PAINT: u32 = 0xdead_beef;
/// Bytes below a local variable that the painting function itself may be using.
const MARGIN: usize = 256;

unsafe extern "C" {
    /// Top of the stack: the linker's.
    static _stack_start: u32;
    /// End of the static variables, below which the stack may not get: the linker's.
    static __sheap: u32;
}

/// Addresses of the words between the static variables and the stack's top.
fn words() -> Range<usize> {
    ptr::addr_of!(__sheap).addr()..ptr::addr_of!(_stack_start).addr()
}

/// Paints what is free of the stack.
#[inline(never)]
pub fn paint() {
    let here = black_box(0u32);
    let free = words().start..ptr::addr_of!(here).addr().saturating_sub(MARGIN);
    for word in free.step_by(size_of::<u32>()) {
        // SAFETY: an aligned word of RAM between the static variables and this function's frame. No allocator and no
        // other thread use it; what an interrupt puts there is dead when it returns.
        unsafe { ptr::with_exposed_provenance_mut::<u32>(word).write_volatile(PAINT) };
    }
}

/// Bytes from the top of the stack to the deepest one written since [`paint`].
///
/// That is the whole program's stack, the caller's variables included.
#[inline(never)]
pub fn reached() -> usize {
    let is_painted = |word: &usize| {
        // SAFETY: an aligned word of RAM, and any bytes are a valid `u32`.
        unsafe { ptr::with_exposed_provenance::<u32>(*word).read_volatile() == PAINT }
    };
    let untouched = words().step_by(size_of::<u32>()).take_while(is_painted).count();
    words().len() - untouched * size_of::<u32>()
}
