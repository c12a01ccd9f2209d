//! Cortex-M0: MULS overwrites a factor, and only eight registers take part in it; the sums wait in others.
//!
//! ```text
//!   patches                 weights                       sums, in registers
//!   left                    upper row                     upper·left  upper·right
//!   right                   lower row                     lower·left  lower·right
//! ```
//!
//! An element takes 1 LDM, 2 LDRSB, 1 MOVS, 4 MULS, 4 ADD and 1 ADDS: 13 instructions for 4 multiply-adds.

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
        // r0 and r1 an element of both patches, r2 and r3 weights, r4 patches, r5 and r6 the ends of the rows, r7 the
        // element, counted up to 0 at the end; r8-r11 sums.
        ".macro element",
        "ldm r4!, {{r0, r1}}",
        "ldrsb r2, [r5, r7]",
        "movs r3, r0",
        "muls r3, r2, r3",
        "add r8, r3",
        "ldrsb r3, [r6, r7]",
        "muls r2, r1, r2",
        "add r9, r2",
        "muls r0, r3, r0",
        "add r10, r0",
        "muls r1, r3, r1",
        "add r11, r1",
        "adds r7, #1",
        ".endm",
        // On the stack: sums 0, patches 4, upper row 8, stride 12; length 52, pairs 56.
        "push {{r4-r7, lr}}",
        "mov r4, r8",
        "mov r5, r9",
        "mov r6, r10",
        "mov r7, r11",
        "push {{r0-r7}}",
        "2:",
        "ldr r3, [sp]",
        "ldm r3!, {{r4-r7}}",
        "mov r8, r4",
        "mov r9, r5",
        "mov r10, r6",
        "mov r11, r7",
        "ldr r4, [sp, #4]",
        "ldr r5, [sp, #8]",
        "ldr r3, [sp, #12]",
        "ldr r7, [sp, #52]",
        "adds r6, r5, r3",
        "adds r3, r6, r3",
        "str r3, [sp, #8]",
        "adds r5, r5, r7",
        "adds r6, r6, r7",
        "rsbs r7, r7, #0",
        "3:",
        "element",
        "element",
        "element",
        "element",
        "bne 3b",
        "mov r4, r8",
        "mov r5, r9",
        "mov r6, r10",
        "mov r7, r11",
        "ldr r3, [sp]",
        "stm r3!, {{r4-r7}}",
        "str r3, [sp]",
        "ldr r3, [sp, #56]",
        "subs r3, #1",
        "str r3, [sp, #56]",
        "bne 2b",
        "pop {{r0-r7}}",
        "mov r8, r4",
        "mov r9, r5",
        "mov r10, r6",
        "mov r11, r7",
        "pop {{r4-r7, pc}}",
        ".purgem element",
    )
}
