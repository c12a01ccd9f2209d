//! Sums of products: rows of a matrix times one vector or two.
//!
//! ```text
//!   two vectors: 14 instructions for 128 multiply-adds      one vector: 10 instructions for 64
//!
//!               left  right                                              x
//!   q2  row 0    r0    r2                                   q1  row 0    r0
//!   q3  row 1    r4    r6                                   q2  row 1    r2
//!   q2  row 2    r8    r10                                  q1  row 2    r4
//!   q3  row 3    r12   lr                                   q2  row 3    r8
//!                q0    q1                                                q0
//! ```
//!
//! Odd registers point at the rows and vectors. With two vectors none is left to count in, so there is no loop: a tile
//! jumps into a sequence of steps, as many before its end as there are whole vectors.

use core::arch::naked_asm;
use core::marker::PhantomData;

use super::VECTOR_BYTES;
use crate::plan::{COLUMNS, WORD_BYTES};

/// Most bytes that are multiplied with two vectors at a time.
pub(super) const MOST_BYTES: usize = 256;

/// Rows of int8.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    /// The first byte of the first row.
    start: *const u8,
    /// Bytes from one row to the next, and of a row; the latter are not 0.
    stride: usize,
    length: usize,
    /// Not 0.
    rows: usize,
    bytes: PhantomData<&'a [u8]>,
}

impl<'a> Matrix<'a> {
    /// `None` if `bytes` does not hold all rows, or there is nothing in them.
    #[inline]
    pub(super) fn new(bytes: &'a [u8], stride: usize, length: usize, rows: usize) -> Option<Self> {
        let end = rows.checked_sub(1)?.checked_mul(stride)?.checked_add(length)?;
        let matrix = Matrix { start: bytes.as_ptr(), stride, length, rows, bytes: PhantomData };
        (length > 0 && end <= bytes.len()).then_some(matrix)
    }

    /// `length` bytes of each row from `first` on, if rows have them.
    #[inline]
    pub(super) fn part(&self, first: usize, length: usize) -> Option<Self> {
        let start = self.start.wrapping_add(first);
        (length > 0 && first + length <= self.length).then_some(Matrix { start, length, ..*self })
    }

    /// Copies each row to bytes `at..` of a vector, if they have room and there are as many.
    pub(super) fn copy_to(&self, vectors: &mut [[u8; VECTOR_BYTES]], at: usize) {
        if at + self.length <= VECTOR_BYTES && vectors.len() == self.rows {
            let to = vectors.as_flattened_mut().as_mut_ptr().wrapping_add(at);
            // SAFETY: `new` found all rows, not 0, in the bytes; a vector has room for each.
            unsafe { copy_rows(self.start, self.stride, to, self.length, self.rows) }
        }
    }
}

/// Copies `count` rows of `length` bytes, one a vector: 5 instructions each.
///
/// # Safety
///
/// There are so many rows, not 0; `length` bytes at `to` and every vector on can be written.
#[unsafe(naked)]
unsafe extern "C" fn copy_rows(rows: *const u8, stride: usize, to: *mut u8, length: usize, count: usize) {
    naked_asm!(
        // VPSTT masks the lanes behind `length`, which VCTP sets.
        ".cpu cortex-m55",
        "push {{r7, lr}}",
        "ldr lr, [sp, #8]",
        "vctp.8 r3",
        "dls lr, lr",
        "2:",
        "vpstt",
        "vldrbt.u8 q0, [r0]",
        "vstrbt.8 q0, [r2], #16",
        "add r0, r0, r1",
        "le lr, 2b",
        "pop {{r7, pc}}",
    )
}

/// Starts both columns' sums with the bias of their row, int32.
pub(super) fn start(sums: &mut [[i32; COLUMNS]], biases: &[u8]) {
    let count = sums.len().min(biases.len() / WORD_BYTES);
    if count > 0 {
        // SAFETY: there are `count` of both.
        unsafe { start_rows(sums.as_mut_ptr(), biases.as_ptr(), count) }
    }
}

/// # Safety
///
/// There are `count` sums and biases, not 0.
#[unsafe(naked)]
unsafe extern "C" fn start_rows(sums: *mut [i32; COLUMNS], biases: *const u8, count: usize) {
    naked_asm!(
        // r0 left sums, r3 right sums, q1 every second of four words.
        ".cpu cortex-m55",
        "push {{r7, lr}}",
        "mov r12, #0",
        "vidup.u32 q1, r12, #2",
        "add r3, r0, #4",
        "dlstp.32 lr, r2",
        "2:",
        "vldrb.u8 q0, [r1], #16",
        "vstrw.32 q0, [r0, q1, uxtw #2]",
        "vstrw.32 q0, [r3, q1, uxtw #2]",
        "add r0, r0, #32",
        "add r3, r3, #32",
        "letp lr, 2b",
        "pop {{r7, pc}}",
    )
}

/// Adds to each sum the product of its row with `x`.
#[inline]
pub(super) fn multiply(sums: &mut [i32], matrix: Matrix<'_>, x: &[u8]) {
    let Matrix { start, stride, length, rows, .. } = matrix;
    if x.len() >= length && sums.len() == rows {
        // SAFETY: a matrix is in its bytes, with neither 0 rows nor of 0 bytes; there are so many sums and bytes of x.
        unsafe { multiply_rows(sums.as_mut_ptr(), start, x.as_ptr(), rows, length, stride) }
    }
}

/// Adds to each sum the product of its row, of at most [`MOST_BYTES`], with the start of its column's patch.
#[inline]
pub(super) fn multiply_pair(sums: &mut [[i32; COLUMNS]], matrix: Matrix<'_>, [left, right]: [&[u8]; COLUMNS]) {
    let Matrix { start, stride, length, rows, .. } = matrix;
    if length <= left.len().min(right.len()).min(MOST_BYTES) && sums.len() == rows {
        let (left, right) = (left.as_ptr(), right.as_ptr());
        // SAFETY: a matrix is in its bytes, with neither 0 rows nor of 0 bytes; there are so many sums and bytes of
        // either patch, no more than there are steps for.
        unsafe { multiply_rows_pair(sums.as_mut_ptr(), start, left, right, rows, length, stride) }
    }
}

/// # Safety
///
/// There are `rows` sums and, every `stride` bytes, rows, of `length` bytes as `left` and `right`; `length` is at most
/// [`MOST_BYTES`], and neither number is 0.
#[unsafe(naked)]
unsafe extern "C" fn multiply_rows_pair(
    sums: *mut [i32; COLUMNS],
    weights: *const u8,
    left: *const u8,
    right: *const u8,
    rows: usize,
    length: usize,
    stride: usize,
) {
    naked_asm!(
        ".cpu cortex-m55",
        ".macro step",
        "vldrb.u8 q0, [r9], #16",
        "vldrb.u8 q2, [r1], #16",
        "vmladava.s8 r0, q2, q0",
        "vldrb.u8 q1, [r11], #16",
        "vmladava.s8 r2, q2, q1",
        "vldrb.u8 q3, [r3], #16",
        "vmladava.s8 r4, q3, q0",
        "vmladava.s8 r6, q3, q1",
        "vldrb.u8 q2, [r5], #16",
        "vmladava.s8 r8, q2, q0",
        "vmladava.s8 r10, q2, q1",
        "vldrb.u8 q3, [r7], #16",
        "vmladava.s8 r12, q3, q0",
        "vmladava.s8 lr, q3, q1",
        ".endm",
        // On the stack: left 0, right 4, from the end of a tile's last row to the next tile 8, end of the tiles' sums
        // 12, the first step of a tile 16, where its steps end 20, sums 24; rows 64, length 68, stride 72.
        "push {{r4-r11, lr}}",
        "sub sp, #28",
        "strd r2, r3, [sp]",
        "ldrd r4, r5, [sp, #64]",
        "ldr r6, [sp, #72]",
        "bic r7, r4, #3",
        "add r7, r0, r7, lsl #3",
        "add r8, r5, #15",
        "bic r8, r8, #15",
        "sub r8, r6, r8",
        "strd r8, r7, [sp, #8]",
        "and r8, r5, #15",
        // For VPST: the lanes of a vector that is not whole. Lanes that are not loaded are 0.
        "vctp.8 r8",
        "adr.w r9, 3f",
        "adr.w r10, 4f",
        "cmp r8, #0",
        "it eq",
        "addeq r10, #(5f - 4f)",
        "orr r10, r10, #1",
        "lsr r5, r5, #4",
        // Bytes of a step: 14 instructions of 4. Bit 0 of an address says Thumb.
        "mov r11, #56",
        "mls r9, r5, r11, r9",
        "orr r9, r9, #1",
        "strd r9, r10, [sp, #16]",
        "str r0, [sp, #24]",
        "cmp r0, r7",
        "beq 6f",
        "2:",
        "ldr r0, [sp, #72]",
        "ldrd r9, r11, [sp]",
        "add r3, r1, r0",
        "add r5, r3, r0",
        "add r7, r5, r0",
        "ldr r0, [sp, #24]",
        "ldm r0, {{r0, r2, r4, r6, r8, r10, r12, lr}}",
        "ldr pc, [sp, #16]",
        ".rept 16",
        "step",
        ".endr",
        "3:",
        "ldr pc, [sp, #20]",
        "4:",
        "vpstttt",
        "vldrbt.u8 q0, [r9]",
        "vldrbt.u8 q1, [r11]",
        "vldrbt.u8 q2, [r1], #16",
        "vldrbt.u8 q3, [r3]",
        "vmladava.s8 r0, q2, q0",
        "vmladava.s8 r2, q2, q1",
        "vmladava.s8 r4, q3, q0",
        "vmladava.s8 r6, q3, q1",
        "vpstt",
        "vldrbt.u8 q2, [r5]",
        "vldrbt.u8 q3, [r7], #16",
        "vmladava.s8 r8, q2, q0",
        "vmladava.s8 r10, q2, q1",
        "vmladava.s8 r12, q3, q0",
        "vmladava.s8 lr, q3, q1",
        "5:",
        "ldr r9, [sp, #24]",
        "stm r9!, {{r0, r2, r4, r6, r8, r10, r12, lr}}",
        "ldrd r0, r2, [sp, #8]",
        "str r9, [sp, #24]",
        "add r1, r7, r0",
        "cmp r9, r2",
        "bne 2b",
        "6:",
        "ldr r6, [sp, #24]",
        "ldr r7, [sp, #64]",
        "ands r7, r7, #3",
        "beq 9f",
        // Rows that make no tile.
        "8:",
        "ldrd r9, r11, [sp]",
        "ldr lr, [sp, #68]",
        "ldrd r0, r2, [r6]",
        "dlstp.8 lr, lr",
        "7:",
        "vldrb.u8 q0, [r1], #16",
        "vldrb.u8 q3, [r9], #16",
        "vmladava.s8 r0, q0, q3",
        "vldrb.u8 q2, [r11], #16",
        "vmladava.s8 r2, q0, q2",
        "letp lr, 7b",
        "strd r0, r2, [r6], #8",
        "ldr r0, [sp, #8]",
        "subs r7, #1",
        "add r1, r0",
        "bne 8b",
        "9:",
        "add sp, #28",
        "pop {{r4-r11, pc}}",
        ".purgem step",
    )
}

/// # Safety
///
/// There are `rows` sums and, every `stride` bytes, rows, of `length` bytes as `x`; neither number is 0.
#[unsafe(naked)]
unsafe extern "C" fn multiply_rows(
    sums: *mut i32,
    matrix: *const u8,
    x: *const u8,
    rows: usize,
    length: usize,
    stride: usize,
) {
    naked_asm!(
        ".cpu cortex-m55",
        // On the stack: from the end of a tile's last row to the next tile 0, x 4; length 40, stride 44.
        "push {{r1, r2, r4-r10, lr}}",
        "mov r6, r0",
        "mov r10, r3",
        "ldrd r12, r7, [sp, #40]",
        "add r2, r12, #15",
        "bic r2, r2, #15",
        "sub r2, r7, r2",
        "str r2, [sp]",
        "subs r10, #4",
        "blo 4f",
        "2:",
        "add r3, r1, r7",
        "add r5, r3, r7",
        "add r9, r5, r7",
        "ldm r6, {{r0, r2, r4, r8}}",
        "dlstp.8 lr, r12",
        "ldr r12, [sp, #4]",
        "3:",
        "vldrb.u8 q0, [r12], #16",
        "vldrb.u8 q1, [r1], #16",
        "vmladava.s8 r0, q0, q1",
        "vldrb.u8 q2, [r3], #16",
        "vmladava.s8 r2, q0, q2",
        "vldrb.u8 q1, [r5], #16",
        "vmladava.s8 r4, q0, q1",
        "vldrb.u8 q2, [r9], #16",
        "vmladava.s8 r8, q0, q2",
        "letp lr, 3b",
        "stm r6!, {{r0, r2, r4, r8}}",
        "ldr r0, [sp]",
        "ldr r12, [sp, #40]",
        "subs r10, #4",
        "add r1, r9, r0",
        "bhs 2b",
        "4:",
        "adds r10, #4",
        "beq 7f",
        // Rows that make no tile.
        "5:",
        "ldr r3, [sp, #4]",
        "ldr r0, [r6]",
        "dlstp.8 lr, r12",
        "6:",
        "vldrb.u8 q0, [r3], #16",
        "vldrb.u8 q1, [r1], #16",
        "vmladava.s8 r0, q0, q1",
        "letp lr, 6b",
        "str r0, [r6], #4",
        "ldr r0, [sp]",
        "subs r10, #1",
        "add r1, r0",
        "bne 5b",
        "7:",
        "pop {{r1, r2, r4-r10, pc}}",
    )
}
