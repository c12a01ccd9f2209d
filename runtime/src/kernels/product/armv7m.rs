//! Cortex-M3: MLA adds one product to a sum.
//!
//! ```text
//!   patches                 weights                       sums, in registers
//!   left                    upper row                     upper·left  upper·right
//!   right                   lower row                     lower·left  lower·right
//! ```
//!
//! Two elements take 1 LDM, 4 LDRSB and 8 MLA: 13 instructions for 8 multiply-adds.

use core::arch::naked_asm;

use super::Pair;

/// Adds the products of `length` elements with two rows of weights for each of `pairs` pairs of sums; `length` is a
/// multiple of 4, and neither is 0.
///
/// # Safety
///
/// There are so many pairs and elements, and so many bytes of each row, `stride` from one row to the next.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn rows(
    sums: *mut [[i32; 2]; 2],
    patches: *const Pair,
    weights: *const u8,
    stride: usize,
    length: usize,
    pairs: usize,
) {
    naked_asm!(
        // r0 groups left, by twos; r1 patches, r2 upper row, r3 lower row, r4-r7 two elements of both patches, r8-r11
        // sums, r12 and lr weights.
        ".macro two",
        "ldm r1!, {{r4-r7}}",
        "ldrsb r12, [r2], #1",
        "ldrsb lr, [r2], #1",
        "mla r8, r12, r4, r8",
        "mla r9, r12, r5, r9",
        "mla r8, lr, r6, r8",
        "mla r9, lr, r7, r9",
        "ldrsb r12, [r3], #1",
        "ldrsb lr, [r3], #1",
        "mla r10, r12, r4, r10",
        "mla r11, r12, r5, r11",
        "mla r10, lr, r6, r10",
        "mla r11, lr, r7, r11",
        ".endm",
        // On the stack: sums 0, patches 4, end of the sums 8, from the end of a row's part to the next row but one 12;
        // length 52.
        "push {{r0-r11, lr}}",
        "ldrd r4, r5, [sp, #52]",
        "add r5, r0, r5, lsl #4",
        "rsb r6, r4, r3, lsl #1",
        "strd r5, r6, [sp, #8]",
        "add r3, r2, r3",
        "2:",
        "ldm r0, {{r8-r11}}",
        "ldr r1, [sp, #4]",
        "ldr r0, [sp, #52]",
        // Starts in the middle if the number of groups is odd.
        "adds r0, #4",
        "lsrs r0, r0, #3",
        "bcc 4f",
        "3:",
        "two",
        "two",
        "4:",
        "two",
        "two",
        "subs r0, #1",
        "bne 3b",
        "ldr r0, [sp]",
        "stm r0!, {{r8-r11}}",
        "str r0, [sp]",
        "ldrd r12, lr, [sp, #8]",
        "add r2, lr",
        "add r3, lr",
        "cmp r0, r12",
        "bne 2b",
        "pop {{r0-r11, pc}}",
        ".purgem two",
    )
}
