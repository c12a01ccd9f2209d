//! From sums to outputs, four at a time.
//!
//! With shift = 32 + t and t ≥ 1, `kernels::requantize` computes (high + 2^(t-1)) / 2^t, rounded down, where high is
//! the upper half of the 64-bit product. VMULH gives that half, and VRSHL by -t adds and shifts without overflow.
//! Layers with a smaller shift go the portable way, and so do codes.

use core::arch::naked_asm;
use core::iter;
use core::marker::PhantomData;
use core::ptr;

use crate::format::{FLAG_NEGATIVE_MULTIPLIERS, output};
use crate::kernels::convolution::Convolution;
use crate::kernels::requantize;
use crate::layer::Layer;
use crate::plan::{COLUMNS, WORD_BYTES};

/// 32 - shift of a layer, if that is negative.
fn shift_of_high(layer: &Layer<'_>) -> Option<i32> {
    Some(32 - i32::from(layer.record.shift)).filter(|shift| *shift < 0)
}

/// How the sums of some channels become int8.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Scale<'a> {
    /// int32, one for each channel. Those for negative sums are null unless the layer is leaky.
    positive: *const u8,
    negative: *const u8,
    shift_of_high: i32,
    zero_point: i32,
    minimum: i32,
    maximum: i32,
    /// Bytes from one channel's sum to the next.
    stride: usize,
    channels: usize,
    multipliers: PhantomData<&'a [u8]>,
}

impl<'a> Scale<'a> {
    /// For `channels` channels (or features) from `first` on, unless the outputs are no int8.
    fn new(layer: &Layer<'a>, first: usize, channels: usize, stride: usize) -> Option<Self> {
        let record = &layer.record;
        let words = first * WORD_BYTES..(first + channels) * WORD_BYTES;
        let positive = layer.multipliers.get(words.clone())?.as_ptr();
        let negative = layer.negative_multipliers.get(words)?.as_ptr();
        let leaky = record.flags & FLAG_NEGATIVE_MULTIPLIERS != 0;
        let scale = Scale {
            positive,
            negative: if leaky { negative } else { ptr::null() },
            shift_of_high: shift_of_high(layer)?,
            zero_point: record.output_zero_point.into(),
            minimum: record.minimum.into(),
            maximum: record.maximum.into(),
            stride,
            channels,
            multipliers: PhantomData,
        };
        (record.output == output::INT8).then_some(scale)
    }

    /// Without the channels before `channel`.
    pub(super) fn from(self, channel: usize) -> Self {
        let skipped = channel.min(self.channels);
        let skip = |words: *const u8| if words.is_null() { words } else { words.wrapping_add(skipped * WORD_BYTES) };
        Scale {
            positive: skip(self.positive),
            negative: skip(self.negative),
            channels: self.channels - skipped,
            ..self
        }
    }

    pub(super) fn is_leaky(&self) -> bool {
        !self.negative.is_null()
    }

    /// Writes the outputs of `sums`, every `stride` bytes one, to `left`, and those of the sums behind the first
    /// `stride - 4` bytes to `right`.
    ///
    /// # Safety
    ///
    /// There are so many sums, and both outputs have a byte for each channel.
    unsafe fn write(&self, sums: &[i32], left: *mut u8, right: *mut u8) {
        if self.channels > 0 {
            // SAFETY: the caller's, and as many multipliers, by construction.
            unsafe { write_int8(sums.as_ptr(), left, right, self.channels, self) }
        }
    }
}

/// The outputs of a row that a convolution computes.
pub(super) struct Outputs<'a> {
    layer: &'a Layer<'a>,
    /// Of the sums of pairs of columns.
    scale: Option<Scale<'a>>,
    /// The row, `(W, C)`.
    bytes: &'a mut [u8],
    pixel_bytes: usize,
    first: usize,
    step: usize,
}

impl<'a> Outputs<'a> {
    /// Those of a convolution in the row `bytes`.
    pub(super) fn new(convolution: &Convolution<'a>, bytes: &'a mut [u8]) -> Self {
        let layer = convolution.layer;
        let channels = layer.output().channels;
        Outputs {
            layer,
            scale: Scale::new(layer, 0, channels, COLUMNS * WORD_BYTES),
            bytes,
            pixel_bytes: channels * requantize::element_bytes(layer),
            first: convolution.first,
            step: convolution.step,
        }
    }

    /// How many there are.
    pub(super) fn columns(&self) -> usize {
        (self.bytes.len() / self.pixel_bytes.max(1)).saturating_sub(self.first).div_ceil(self.step.max(1))
    }

    pub(super) fn scale(&self) -> Option<Scale<'a>> {
        self.scale
    }

    /// Where an output starts in the row.
    fn start(&self, column: usize) -> usize {
        (self.first + column * self.step) * self.pixel_bytes
    }

    /// The bytes from output `first` to output `first + count - 1`, and how many from one to the next.
    pub(super) fn pixels(&mut self, first: usize, count: usize) -> Option<(&mut [u8], usize)> {
        let (start, end) = (self.start(first), self.start(first + count.checked_sub(1)?) + self.pixel_bytes);
        Some((self.bytes.get_mut(start..end)?, self.step * self.pixel_bytes))
    }

    /// Writes all channels of two outputs.
    #[inline]
    pub(super) fn write_pair(&mut self, columns: [usize; COLUMNS], sums: &[[i32; COLUMNS]]) {
        let starts = columns.map(|column| self.start(column));
        match &self.scale {
            Some(scale)
                if scale.channels == sums.len()
                    && starts.iter().all(|start| start + scale.channels <= self.bytes.len()) =>
            {
                let row = self.bytes.as_mut_ptr();
                // SAFETY: there are as many sums of either column as channels, and so many bytes from its start.
                unsafe {
                    let [left, right] = starts.map(|start| row.add(start));
                    scale.write(sums.as_flattened(), left, right);
                }
            }
            _ => {
                for (index, start) in starts.into_iter().enumerate() {
                    let pixel = self.bytes.get_mut(start..start + self.pixel_bytes).unwrap_or(&mut []);
                    requantize::write_sums(self.layer, sums.iter().map(|sums| sums[index]), 0, pixel);
                }
            }
        }
    }

    /// Writes one channel of outputs `first..`, whose sums these are.
    pub(super) fn write_channel(&mut self, channel: usize, first: usize, sums: &[i32]) {
        let (layer, element_bytes) = (self.layer, requantize::element_bytes(self.layer));
        let Some((pixels, step)) = self.pixels(first, sums.len()) else { return };
        let Some(elements) = pixels.get_mut(channel * element_bytes..) else { return };
        match PixelScale::new(layer, channel) {
            Some(scale) if (sums.len() - 1) * step < elements.len() => {
                let (table, elements) = (layer.table.as_ptr(), elements.as_mut_ptr());
                // SAFETY: there is at least one sum, for each an element every `step` bytes, and a scale's indices are
                // the table's.
                unsafe { write_pixels(sums.as_ptr(), table, elements, step, sums.len(), &scale) }
            }
            _ => {
                for (sum, pixel) in sums.iter().zip(elements.chunks_mut(step.max(1))) {
                    let element = pixel.get_mut(..element_bytes).unwrap_or(&mut []);
                    requantize::write_sums(layer, iter::once(*sum), channel, element);
                }
            }
        }
    }
}

/// Writes the outputs of sums that belong to features `first..`.
pub(super) fn write_features(layer: &Layer<'_>, sums: &[i32], first: usize, output: &mut [u8]) {
    match Scale::new(layer, first, sums.len(), WORD_BYTES) {
        Some(scale) if output.len() == sums.len() => {
            let output = output.as_mut_ptr();
            // SAFETY: there are so many sums, one behind the other, and bytes; both columns are the same.
            unsafe { scale.write(sums, output, output) }
        }
        _ => requantize::write_sums(layer, sums.iter().copied(), first, output),
    }
}

/// How the sums of one channel become pixels.
#[repr(C)]
struct PixelScale {
    shift_of_high: i32,
    multiplier: i32,
    /// The table's entry for 0, and its last one.
    middle: usize,
    last: usize,
}

impl PixelScale {
    /// Unless the outputs are no pixels, or the layer is leaky.
    fn new(layer: &Layer<'_>, channel: usize) -> Option<Self> {
        let record = &layer.record;
        let scale = PixelScale {
            shift_of_high: shift_of_high(layer)?,
            multiplier: i32::from_le_bytes(*layer.multipliers.as_chunks().0.get(channel)?),
            middle: record.table_length() / 2,
            last: layer.table.len().checked_sub(1)?,
        };
        (record.output == output::PIXELS && record.flags & FLAG_NEGATIVE_MULTIPLIERS == 0).then_some(scale)
    }
}

/// Writes pixels, `step` bytes from one to the next: 10 instructions for four.
///
/// # Safety
///
/// There are `count` sums, not 0, and pixels; the table has an entry `scale.last`.
#[unsafe(naked)]
unsafe extern "C" fn write_pixels(
    sums: *const i32,
    table: *const u8,
    output: *mut u8,
    step: usize,
    count: usize,
    scale: &PixelScale,
) {
    naked_asm!(
        // r0 sums, r1 table, r2 output, r3 four steps, r4 32 - shift, r6 middle; q1 multiplier, q2 0, q3 last, q4
        // steps.
        ".cpu cortex-m55",
        "push {{r4-r7, lr}}",
        "vpush {{d8-d11}}",
        "ldrd lr, r12, [sp, #52]",
        "ldm r12, {{r4, r5, r6, r7}}",
        "vdup.32 q1, r5",
        "vmov.i32 q2, #0",
        "vdup.32 q3, r7",
        "mov r12, #0",
        "vidup.u32 q4, r12, #1",
        "vmul.i32 q4, q4, r3",
        "lsl r3, r3, #2",
        "dlstp.32 lr, lr",
        "2:",
        "vldrw.u32 q0, [r0], #16",
        "vmulh.s32 q0, q0, q1",
        "vrshl.s32 q0, r4",
        "vadd.i32 q0, q0, r6",
        "vmax.s32 q0, q0, q2",
        "vmin.s32 q0, q0, q3",
        "vldrb.u32 q5, [r1, q0]",
        "vstrb.32 q5, [r2, q4]",
        "add r2, r2, r3",
        "letp lr, 2b",
        "vpop {{d8-d11}}",
        "pop {{r4-r7, pc}}",
    )
}

/// Writes int8 of two columns: 19 instructions for four channels of both, 25 in leaky layers.
///
/// # Safety
///
/// There are `count` sums of either column, not 0, multipliers, and bytes of both outputs.
#[unsafe(naked)]
unsafe extern "C" fn write_int8(sums: *const i32, left: *mut u8, right: *mut u8, count: usize, scale: &Scale<'_>) {
    naked_asm!(
        // r0 left sums, r8 right sums, r10 four strides, r1 left, r2 right, r4 multipliers, r5 those of negative sums,
        // r6 32 - shift, r7 zero point; q3 minimum, q4 maximum, q5 strides.
        ".cpu cortex-m55",
        "push {{r4-r10, lr}}",
        "vpush {{d8-d13}}",
        "ldr r12, [sp, #80]",
        "ldm r12, {{r4-r10}}",
        "vdup.32 q3, r8",
        "vdup.32 q4, r9",
        "mov r8, #0",
        "vidup.u32 q5, r8, #1",
        "vmul.i32 q5, q5, r10",
        "add r8, r0, r10",
        "sub r8, r8, #4",
        "lsl r10, r10, #2",
        "dlstp.32 lr, r3",
        "2:",
        "vldrw.u32 q0, [r0, q5]",
        "add r0, r0, r10",
        "vldrb.u8 q2, [r4], #16",
        "vldrw.u32 q1, [r8, q5]",
        "add r8, r8, r10",
        "cbnz r5, 4f",
        "vmulh.s32 q0, q0, q2",
        "vmulh.s32 q1, q1, q2",
        "3:",
        "vrshl.s32 q0, r6",
        "vrshl.s32 q1, r6",
        "vadd.i32 q0, q0, r7",
        "vadd.i32 q1, q1, r7",
        "vmax.s32 q0, q0, q3",
        "vmax.s32 q1, q1, q3",
        "vmin.s32 q0, q0, q4",
        "vmin.s32 q1, q1, q4",
        "vstrb.32 q0, [r1], #4",
        "vstrb.32 q1, [r2], #4",
        "letp lr, 2b",
        "vpop {{d8-d13}}",
        "pop {{r4-r10, pc}}",
        "4:",
        "vldrb.u8 q6, [r5], #16",
        "vpte.s32 lt, q0, zr",
        "vmulht.s32 q0, q0, q6",
        "vmulhe.s32 q0, q0, q2",
        "vpte.s32 lt, q1, zr",
        "vmulht.s32 q1, q1, q6",
        "vmulhe.s32 q1, q1, q2",
        "b 3b",
    )
}
