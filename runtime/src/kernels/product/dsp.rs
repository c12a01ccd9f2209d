//! Cortex-M4 and M7: SMLAD multiplies two pairs of int16 and adds both products to a 32-bit sum.
//!
//! SXTB16 makes two int16 of bytes 0 and 2 of a word, and of bytes 1 and 3 when it rotates first. Patches are widened
//! once, in that order; weights, four to a load, whenever they are used. In groups of four elements:
//!
//! ```text
//!   patches, in memory      weights, sign-extended        sums, in registers
//!   left   (0 2) (1 3)      upper row (0 2) (1 3)         upper·left  upper·right
//!   right  (0 2) (1 3)      lower row (0 2) (1 3)         lower·left  lower·right
//! ```
//!
//! A group takes 1 LDM, 2 LDR, 4 SXTB16 and 8 SMLAD: 15 instructions for 16 multiply-adds. Weights may lie at any
//! address: LDR reads across words on these cores.

use core::arch::{asm, naked_asm};

use super::WeightRows;
use crate::kernels::words::{words, words_mut};
use crate::plan::COLUMNS;

pub(super) const ELEMENT_BYTES: usize = 2;
/// Elements that are widened together.
const GROUP: usize = 4;
/// A group of elements of each patch: elements 0 and 2, 1 and 3.
type Group = [[i32; 2]; COLUMNS];

/// The groups of a column's patch, from the one of element `at` on.
fn groups_mut(patches: &mut [u8], column: usize, at: usize) -> impl Iterator<Item = &mut [i32; 2]> {
    let pairs = words_mut(patches).as_chunks_mut().0.as_chunks_mut().0;
    let from = pairs.get_mut(at / GROUP..).unwrap_or(&mut []);
    from.iter_mut().map(move |[left, right]| if column == 0 { left } else { right })
}

pub(super) fn put(patches: &mut [u8], column: usize, at: usize, bytes: &[u8]) {
    let (words, rest) = if at.is_multiple_of(GROUP) { bytes.as_chunks() } else { (&[][..], bytes) };
    for (group, word) in groups_mut(patches, column, at).zip(words) {
        *group = widen(i32::from_le_bytes(*word));
    }
    if !rest.is_empty() {
        put_elements(patches, column, at + bytes.len() - rest.len(), rest);
    }
}

/// Writes elements one by one; out of line, so that it doesn't burden the loop that usually does it all.
#[inline(never)]
fn put_elements(patches: &mut [u8], column: usize, at: usize, bytes: &[u8]) {
    for (at, byte) in (at..).zip(bytes) {
        put_element(patches, column, at, byte.cast_signed());
    }
}

pub(super) fn fill(patches: &mut [u8], column: usize, at: usize, count: usize, value: i8) {
    let groups = if at.is_multiple_of(GROUP) { count / GROUP } else { 0 };
    let pair = (i32::from(value) & 0xffff) | i32::from(value) << 16;
    groups_mut(patches, column, at).take(groups).for_each(|group| *group = [pair; 2]);
    for at in at + groups * GROUP..at + count {
        put_element(patches, column, at, value);
    }
}

/// Writes one element.
fn put_element(patches: &mut [u8], column: usize, at: usize, value: i8) {
    if let Some([even, odd]) = groups_mut(patches, column, at).next() {
        let (pair, shift) = (if at & 1 == 0 { even } else { odd }, (at & 2) * 8);
        *pair = *pair & !(0xffff << shift) | (i32::from(value) & 0xffff) << shift;
    }
}

pub(super) fn accumulate(sums: &mut [[i32; COLUMNS]], patches: &[u8], weights: WeightRows<'_>) {
    let (patches, _) = words(patches).as_chunks().0.as_chunks();
    let whole = weights.length / GROUP;
    if !weights.length.is_multiple_of(GROUP) {
        accumulate_rest(sums, patches.get(whole), weights);
    }
    let (Some(patches), Some(bytes)) = (patches.get(..whole), weights.checked(sums.len())) else { return };
    let (pairs, last) = sums.as_chunks_mut::<2>();
    if !patches.is_empty() && !pairs.is_empty() {
        // SAFETY: `bytes` reach from the first element of the first row to the last element of the last row, of which
        // there are no fewer than two for each pair; an element is one of `whole` groups, and so many are `patches`.
        unsafe {
            accumulate_pairs(pairs.as_mut_ptr(), patches.as_ptr(), bytes.as_ptr(), weights.stride, whole, pairs.len());
        }
    }
    if let [sums] = last {
        accumulate_row(sums, patches, weights.iter().nth(2 * pairs.len()).unwrap_or(&[]));
    }
}

/// Adds the products of the last group with all rows: fewer elements than a group has.
#[inline(never)]
fn accumulate_rest(sums: &mut [[i32; COLUMNS]], group: Option<&Group>, weights: WeightRows<'_>) {
    for (sums, row) in sums.iter_mut().zip(weights.iter()) {
        let mut word = [0; GROUP];
        for (to, from) in word.iter_mut().zip(row.as_chunks::<GROUP>().1) {
            *to = *from;
        }
        multiply(sums, group.copied().unwrap_or_default(), word);
    }
}

/// Adds the products of whole groups with one row.
#[inline(never)]
fn accumulate_row(sums: &mut [i32; COLUMNS], patches: &[Group], row: &[u8]) {
    for (group, word) in patches.iter().zip(row.as_chunks().0) {
        multiply(sums, *group, *word);
    }
}

/// Adds the products of one group with one row.
#[inline]
fn multiply([left, right]: &mut [i32; COLUMNS], group: Group, weights: [u8; GROUP]) {
    let [[left_even, left_odd], [right_even, right_odd]] = group;
    let [even, odd] = widen(i32::from_le_bytes(weights));
    *left = smlad(odd, left_odd, smlad(even, left_even, *left));
    *right = smlad(odd, right_odd, smlad(even, right_even, *right));
}

/// The int8 of a word as int16: bytes 0 and 2, bytes 1 and 3.
#[inline]
fn widen(word: i32) -> [i32; 2] {
    let (even, odd);
    // SAFETY: computes registers from registers.
    unsafe {
        asm!(
            "sxtb16 {even}, {word}",
            "sxtb16 {odd}, {word}, ror #8",
            word = in(reg) word, even = out(reg) even, odd = lateout(reg) odd,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    [even, odd]
}

/// sum + a0·b0 + a1·b1 over int16.
#[inline]
fn smlad(a: i32, b: i32, mut sum: i32) -> i32 {
    // SAFETY: computes a register from registers.
    unsafe {
        asm!("smlad {sum}, {a}, {b}, {sum}", a = in(reg) a, b = in(reg) b, sum = inout(reg) sum, options(pure, nomem, nostack))
    }
    sum
}

/// Adds the products of `groups` groups with two rows of weights for each of `pairs` pairs of sums; neither may be 0.
///
/// # Safety
///
/// There are so many pairs, groups and bytes, `stride` apart from row to row.
#[unsafe(naked)]
unsafe extern "C" fn accumulate_pairs(
    sums: *mut [[i32; COLUMNS]; 2],
    patches: *const Group,
    weights: *const u8,
    stride: usize,
    groups: usize,
    pairs: usize,
) {
    naked_asm!(
        // r0 groups left, r1 patches, r2 upper row, r3 lower row, r4-r7 a group of both patches, r8-r11 sums,
        // r12 and lr weights.
        ".macro group",
        "ldm r1!, {{r4-r7}}",
        "ldr lr, [r2], #4",
        "sxtb16 r12, lr",
        "sxtb16 lr, lr, ror #8",
        "smlad r8, r12, r4, r8",
        "smlad r9, r12, r6, r9",
        "smlad r8, lr, r5, r8",
        "smlad r9, lr, r7, r9",
        "ldr lr, [r3], #4",
        "sxtb16 r12, lr",
        "sxtb16 lr, lr, ror #8",
        "smlad r10, r12, r4, r10",
        "smlad r11, r12, r6, r11",
        "smlad r10, lr, r5, r10",
        "smlad r11, lr, r7, r11",
        ".endm",
        // On the stack: sums 0, patches 4, end of the sums 8, from the end of a row's part to the next row but one 12;
        // groups 52.
        "push {{r0-r11, lr}}",
        "ldrd r4, r5, [sp, #52]",
        "add r5, r0, r5, lsl #4",
        "lsl r6, r3, #1",
        "sub r6, r6, r4, lsl #2",
        "strd r5, r6, [sp, #8]",
        "add r3, r2, r3",
        "2:",
        "ldm r0, {{r8-r11}}",
        "ldr r1, [sp, #4]",
        "ldr r0, [sp, #52]",
        // Eight groups a time, the first time only the last four of them if their number is odd by fours.
        "adds r0, #4",
        "lsrs r0, r0, #3",
        "bcc 4f",
        "beq 5f",
        "3:",
        "group",
        "group",
        "group",
        "group",
        "4:",
        "group",
        "group",
        "group",
        "group",
        "subs r0, #1",
        "bne 3b",
        // Those that make no four.
        "5:",
        "ldr r0, [sp, #52]",
        "ands r0, #3",
        "beq 7f",
        "6:",
        "group",
        "subs r0, #1",
        "bne 6b",
        "7:",
        "ldr r0, [sp]",
        "stm r0!, {{r8-r11}}",
        "str r0, [sp]",
        "ldrd r12, lr, [sp, #8]",
        "add r2, lr",
        "add r3, lr",
        "cmp r0, r12",
        "bne 2b",
        "pop {{r0-r11, pc}}",
        ".purgem group",
    )
}
