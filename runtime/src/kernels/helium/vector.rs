//! Convolutions whose patches fit one vector, such as a first layer's: weights stay in registers while the patches of a
//! row pass, and sums go to the outputs without a detour through memory.
//!
//! ```text
//!                  q0..q3: weights of four channels
//!   q4: a patch    r0 r2 r4 r6, then q5: sums          q6: biases    q7: multipliers
//! ```
//!
//! A patch and four channels take 1 load, 4 VMLADAV and 13 to sum up, requantize and store four outputs: 64
//! multiply-adds in 18 instructions.

use core::arch::naked_asm;

use super::VECTOR_BYTES;
use super::outputs::{Outputs, Scale};
use super::windows::Windows;
use crate::kernels::convolution::Convolution;
use crate::plan::WORD_BYTES;

/// Channels at a time.
const GROUP: usize = 4;

/// What is the same for all outputs of four channels.
#[repr(C)]
struct Group<'a> {
    /// int8, (4, `patch_bytes`).
    weights: *const u8,
    patch_bytes: usize,
    /// int32, 4.
    biases: *const u8,
    scale: Scale<'a>,
}

/// Computes the outputs of a row, unless the layer does not suit.
pub(super) fn row(
    convolution: &Convolution<'_>,
    windows: &Windows<'_>,
    scratch: &mut [u8],
    outputs: &mut Outputs<'_>,
) -> Option<()> {
    let patch_bytes = windows.patch_bytes();
    let channels = convolution.layer.output().channels;
    let scale = outputs.scale().filter(|scale| !scale.is_leaky())?;
    let weights = convolution.weights.get(..channels * patch_bytes)?;
    let biases = convolution.biases.get(..channels * WORD_BYTES)?;
    let last_group = channels.checked_sub(GROUP)?;
    let patches = scratch.as_chunks_mut::<VECTOR_BYTES>().0;
    if patch_bytes > VECTOR_BYTES || patches.is_empty() {
        return None;
    }
    let columns = outputs.columns();
    for first in (0..columns).step_by(patches.len()) {
        let (patches, _) = patches.split_at_mut(patches.len().min(columns - first));
        gather(windows, first, patches);
        let (pixels, step) = outputs.pixels(first, patches.len())?;
        // The last group overlaps the one before if the channels are no multiple of four.
        for channel in (0..channels).step_by(GROUP).map(|channel| channel.min(last_group)) {
            // SAFETY: there are four channels, at most the last ones, so many patches of no more than a vector, and as
            // many pixels. A scale is one of int8 outputs, a byte each.
            unsafe {
                let group = Group {
                    weights: weights.as_ptr().add(channel * patch_bytes),
                    patch_bytes,
                    biases: biases.as_ptr().add(channel * WORD_BYTES),
                    scale: scale.from(channel),
                };
                multiply(patches.as_ptr(), patches.len(), &group, pixels.as_mut_ptr().add(channel), step);
            }
        }
    }
    Some(())
}

/// Packs windows `first..`, one a vector. What lies behind a patch meets weights of 0.
fn gather(windows: &Windows<'_>, first: usize, patches: &mut [[u8; VECTOR_BYTES]]) {
    let columns = first..first + patches.len();
    let whole = windows.whole();
    let inside = windows.inside(&whole.bytes, columns.clone());
    for part in windows.row_parts(VECTOR_BYTES) {
        let mut outside = [0; VECTOR_BYTES];
        let to = patches.get_mut(inside.start - first..inside.end - first);
        if let Some((rows, to)) = windows.rows(&part, &inside, &mut outside).zip(to) {
            rows.copy_to(to, part.first);
        }
    }
    for column in (first..inside.start).chain(inside.end..columns.end) {
        if let Some(patch) = patches.get_mut(column - first) {
            windows.gather(column, &whole, patch);
        }
    }
}

/// Computes four channels of `count` outputs, `step` bytes from one to the next.
///
/// # Safety
///
/// There are `count` patches, not 0, of at most a vector, and as many outputs of four bytes; a group is of four
/// channels.
#[unsafe(naked)]
unsafe extern "C" fn multiply(
    patches: *const [u8; VECTOR_BYTES],
    count: usize,
    group: &Group<'_>,
    output: *mut u8,
    step: usize,
) {
    naked_asm!(
        // r1 patches, r3 output, r12 step; r8 32 - shift, r9 zero point, r10 minimum, r11 maximum.
        ".cpu cortex-m55",
        "push {{r4-r11, lr}}",
        "vpush {{d8-d15}}",
        "ldm r2!, {{r4-r7}}",
        "ldr lr, [r2], #4",
        "ldm r2, {{r8-r11}}",
        "vctp.8 r5",
        "vpst",
        "vldrbt.u8 q0, [r4]",
        "add r4, r4, r5",
        "vpst",
        "vldrbt.u8 q1, [r4]",
        "add r4, r4, r5",
        "vpst",
        "vldrbt.u8 q2, [r4]",
        "add r4, r4, r5",
        "vpst",
        "vldrbt.u8 q3, [r4]",
        "vldrb.u8 q6, [r6]",
        "vldrb.u8 q7, [r7]",
        "dls lr, r1",
        "mov r1, r0",
        "ldr r12, [sp, #100]",
        "2:",
        "vldrb.u8 q4, [r1], #16",
        "vmladav.s8 r0, q0, q4",
        "vmladav.s8 r2, q1, q4",
        "vmladav.s8 r4, q2, q4",
        "vmladav.s8 r6, q3, q4",
        "vmov q5[2], q5[0], r0, r4",
        "vmov q5[3], q5[1], r2, r6",
        "vadd.i32 q5, q5, q6",
        "vmulh.s32 q5, q5, q7",
        "vrshl.s32 q5, r8",
        "vadd.i32 q5, q5, r9",
        "vdup.32 q4, r10",
        "vmax.s32 q5, q5, q4",
        "vdup.32 q4, r11",
        "vmin.s32 q5, q5, q4",
        "vstrb.32 q5, [r3]",
        "add r3, r3, r12",
        "le lr, 2b",
        "vpop {{d8-d15}}",
        "pop {{r4-r11, pc}}",
    )
}
