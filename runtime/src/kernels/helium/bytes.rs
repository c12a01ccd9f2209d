//! Copies of bytes that may lie anywhere.

use core::arch::asm;

use crate::plan::WORD_BYTES;

/// Copies what fits.
#[inline]
pub(super) fn copy(to: &mut [u8], from: &[u8]) {
    let count = to.len().min(from.len());
    if count > 0 {
        // SAFETY: there are so many bytes at either end, and what is borrowed mutably overlaps with nothing.
        unsafe { copy_bytes(to.as_mut_ptr(), from.as_ptr(), count) }
    }
}

/// Copies what fits of int32 in memory of bytes.
#[inline]
pub(super) fn copy_words(to: &mut [i32], from: &[u8]) {
    let count = to.len().min(from.len() / WORD_BYTES) * WORD_BYTES;
    if count > 0 {
        // SAFETY: as in `copy`; any four bytes are an int32.
        unsafe { copy_bytes(to.as_mut_ptr().cast(), from.as_ptr(), count) }
    }
}

/// # Safety
///
/// `count`, which is not 0, bytes can be written at `to` and read at `from`.
#[inline]
unsafe fn copy_bytes(to: *mut u8, from: *const u8, count: usize) {
    // SAFETY: DLSTP lets the loop reach `count` bytes and no more; registers that change are listed.
    unsafe {
        asm!(
            "dlstp.8 lr, {count}",
            "2:",
            "vldrb.u8 q0, [{from}], #16",
            "vstrb.8 q0, [{to}], #16",
            "letp lr, 2b",
            count = in(reg) count,
            from = inout(reg) from => _,
            to = inout(reg) to => _,
            out("lr") _, out("d0") _, out("d1") _,
            options(nostack, preserves_flags),
        )
    }
}

/// Fills with one value.
#[inline]
pub(super) fn fill(to: &mut [u8], value: i8) {
    if to.is_empty() {
        return;
    }
    // SAFETY: DLSTP lets the loop reach `to.len()` bytes, which is not 0, and no more; registers that change are
    // listed.
    unsafe {
        asm!(
            "vdup.8 q0, {value}",
            "dlstp.8 lr, {count}",
            "2:",
            "vstrb.8 q0, [{to}], #16",
            "letp lr, 2b",
            count = in(reg) to.len(),
            value = in(reg) i32::from(value),
            to = inout(reg) to.as_mut_ptr() => _,
            out("lr") _, out("d0") _, out("d1") _,
            options(nostack, preserves_flags),
        )
    }
}
