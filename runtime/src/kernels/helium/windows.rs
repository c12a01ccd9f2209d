//! The windows of the input that the outputs of a row see.

use core::arch::naked_asm;
use core::marker::PhantomData;
use core::ops::Range;
use core::ptr::NonNull;
use core::slice;

use super::bytes;
use super::product::Matrix;
use crate::format::MAX_KERNEL;
use crate::kernels::convolution::Convolution;

/// The windows that the outputs of a row see, `(taps H, taps W, in C)` each. Packed, a window is a patch.
pub(super) struct Windows<'a> {
    /// The input row of each tap, `input_bytes` of it; `None` outside the image.
    rows: [Option<NonNull<u8>>; MAX_KERNEL],
    input_bytes: usize,
    input: PhantomData<&'a [u8]>,
    taps: usize,
    /// Bytes of a window's row.
    row_bytes: usize,
    /// Byte of an input row where the first window starts, and bytes from one window to the next.
    start: isize,
    advance: usize,
    zero_point: i8,
}

/// A part of each window: some bytes of some of its rows.
pub(super) struct Part {
    /// Its first byte in the patch.
    pub(super) first: usize,
    pub(super) taps: Range<usize>,
    pub(super) bytes: Range<usize>,
}

impl Part {
    /// Bytes of the part.
    pub(super) fn len(&self) -> usize {
        self.taps.len() * self.bytes.len()
    }
}

/// The parts of a window, in the patch's order.
#[derive(Clone)]
pub(super) struct Parts {
    taps: usize,
    row_bytes: usize,
    /// Most rows, and bytes of a row, in a part.
    most_taps: usize,
    most_bytes: usize,
    tap: usize,
    byte: usize,
}

impl Iterator for Parts {
    type Item = Part;

    #[inline]
    fn next(&mut self) -> Option<Part> {
        if self.tap >= self.taps {
            return None;
        }
        let taps = self.tap..self.taps.min(self.tap + self.most_taps);
        let bytes = self.byte..self.row_bytes.min(self.byte + self.most_bytes);
        let first = self.tap * self.row_bytes + self.byte;
        (self.tap, self.byte) = if bytes.end == self.row_bytes { (taps.end, 0) } else { (self.tap, bytes.end) };
        Some(Part { first, taps, bytes })
    }
}

impl<'a> Windows<'a> {
    pub(super) fn new(convolution: &Convolution<'a>) -> Self {
        let channels = convolution.layer.input().channels;
        let taps = convolution.taps_height.min(MAX_KERNEL);
        let mut rows = [None; MAX_KERNEL];
        for (row, y) in rows.iter_mut().zip(convolution.top..).take(taps) {
            *row = convolution.input.row(y).map(|row| NonNull::from_ref(row).cast());
        }
        Windows {
            rows,
            input_bytes: convolution.input.row_bytes,
            input: PhantomData,
            taps,
            row_bytes: convolution.taps_width * channels,
            start: convolution.left * channels.cast_signed(),
            advance: convolution.advance * channels,
            zero_point: convolution.layer.record.input_zero_point,
        }
    }

    /// Bytes of a patch.
    pub(super) fn patch_bytes(&self) -> usize {
        self.taps * self.row_bytes
    }

    /// A window in parts of at most `capacity` bytes: of as many rows as fit, or of a part of a row.
    pub(super) fn parts(&self, capacity: usize) -> Parts {
        let fitting = capacity.checked_div(self.row_bytes).unwrap_or(0);
        self.parts_of(fitting.max(1), capacity)
    }

    /// All of a window.
    pub(super) fn whole(&self) -> Part {
        Part { first: 0, taps: 0..self.taps, bytes: 0..self.row_bytes }
    }

    /// A window in parts of at most `capacity` bytes of one row.
    pub(super) fn row_parts(&self, capacity: usize) -> Parts {
        self.parts_of(1, capacity)
    }

    fn parts_of(&self, most_taps: usize, most_bytes: usize) -> Parts {
        Parts { taps: self.taps, row_bytes: self.row_bytes, most_taps, most_bytes: most_bytes.max(1), tap: 0, byte: 0 }
    }

    /// Byte of an input row where a part of the window of an output starts.
    fn start(&self, column: usize, bytes: &Range<usize>) -> isize {
        self.start + (column * self.advance + bytes.start).cast_signed()
    }

    /// The input row of a tap; nothing outside the image.
    fn row(&self, tap: usize) -> &'a [u8] {
        match self.rows.get(tap) {
            // SAFETY: `new` has it from a row of so many bytes, borrowed for 'a.
            Some(Some(row)) => unsafe { slice::from_raw_parts(row.as_ptr(), self.input_bytes) },
            _ => &[],
        }
    }

    /// Packs a part of the windows of two outputs, the second of which is the first or a later one.
    #[inline]
    pub(super) fn gather_pair(&self, [left, right]: [usize; 2], part: &Part, [left_to, right_to]: [&mut [u8]; 2]) {
        let start = usize::try_from(self.start(left, &part.bytes));
        let distance = (right - left) * self.advance;
        let fits = part.len() <= left_to.len() && part.len() <= right_to.len();
        match (start, self.rows.get(part.taps.clone())) {
            (Ok(start), Some(rows))
                if fits && part.len() > 0 && start + distance + part.bytes.len() <= self.input_bytes =>
            {
                let (left_to, right_to) = (left_to.as_mut_ptr(), right_to.as_mut_ptr());
                let (bytes, zero_point) = (part.bytes.len(), self.zero_point.into());
                // SAFETY: an input row has `input_bytes`, more than either window's part reaches, and a patch has room
                // for `bytes` of each row. Neither number is 0.
                unsafe {
                    copy_pair(rows.as_ptr(), start, left_to, right_to, rows.len(), distance, bytes, zero_point);
                }
            }
            _ => {
                self.gather(left, part, left_to);
                self.gather(right, part, right_to);
            }
        }
    }

    /// Packs a part of a window into `to`.
    pub(super) fn gather(&self, column: usize, part: &Part, to: &mut [u8]) {
        let start = self.start(column, &part.bytes);
        for (tap, to) in part.taps.clone().zip(to.chunks_exact_mut(part.bytes.len().max(1))) {
            let row = self.row(tap);
            match usize::try_from(start).ok().and_then(|start| row.get(start..start + to.len())) {
                Some(inside) => bytes::copy(to, inside),
                None => self.pad(row, start, to),
            }
        }
    }

    /// Copies bytes `start..` of an input row to `to`; outside the row reads as the zero point.
    #[inline(never)]
    fn pad(&self, row: &[u8], start: isize, to: &mut [u8]) {
        let before = to.len().min(start.min(0).unsigned_abs());
        let row = row.get(start.max(0).unsigned_abs()..).unwrap_or(&[]);
        let inside = row.len().min(to.len() - before);
        let (outside, to) = to.split_at_mut(before);
        bytes::fill(outside, self.zero_point);
        let (to, outside) = to.split_at_mut(inside);
        bytes::copy(to, row);
        bytes::fill(outside, self.zero_point);
    }

    /// Which of `columns` have `bytes` of their windows between the left and the right edge of the image.
    pub(super) fn inside(&self, bytes: &Range<usize>, columns: Range<usize>) -> Range<usize> {
        let advance = self.advance.max(1);
        // Windows start at byte `first + column * advance`.
        let first = self.start + bytes.start.cast_signed();
        let from = columns.start.max(first.min(0).unsigned_abs().div_ceil(advance)).min(columns.end);
        let room = self.input_bytes.checked_add_signed(-first).and_then(|room| room.checked_sub(bytes.len()));
        from..room.map_or(0, |room| room / advance + 1).clamp(from, columns.end)
    }

    /// A part, of one row, of the windows of `columns`, which are `inside`: where they lie in the input or, outside the
    /// image, the zero point over and over, in `buffer`.
    pub(super) fn rows<'s>(&'s self, part: &Part, columns: &Range<usize>, buffer: &'s mut [u8]) -> Option<Matrix<'s>> {
        let length = part.bytes.len();
        let row = self.row(part.taps.start);
        if row.is_empty() {
            let outside = buffer.get_mut(..length)?;
            bytes::fill(outside, self.zero_point);
            return Matrix::new(outside, 0, length, columns.len());
        }
        let start = usize::try_from(self.start(columns.start, &part.bytes)).ok()?;
        Matrix::new(row.get(start..)?, self.advance, length, columns.len())
    }
}

/// Copies `bytes` bytes from `start` on of each of `count` rows to `left`, and from `start + distance` on to `right`,
/// row behind row; `zero_point` for rows that there are not. 9 instructions and 5 a vector.
///
/// # Safety
///
/// Neither `count` nor `bytes` is 0; rows that there are reach so far; `count * bytes` can be written to `left` and
/// `right`.
#[unsafe(naked)]
unsafe extern "C" fn copy_pair(
    rows: *const Option<NonNull<u8>>,
    start: usize,
    left: *mut u8,
    right: *mut u8,
    count: usize,
    distance: usize,
    bytes: usize,
    zero_point: i32,
) {
    naked_asm!(
        // r0 rows, r1 start, r2 left, r3 right, r4 rows left, r5 distance, r6 bytes, r7 and r8 where to read, r9 what
        // the pointers run on too far behind a row. The masked lanes of a vector are neither read nor written.
        ".cpu cortex-m55",
        "push {{r4-r9, lr}}",
        "ldrd r4, r5, [sp, #28]",
        "ldrd r6, r7, [sp, #36]",
        "add r9, r6, #15",
        "bic r9, r9, #15",
        "sub r9, r9, r6",
        "vdup.8 q2, r7",
        "2:",
        "ldr r7, [r0], #4",
        "cbz r7, 4f",
        "add r7, r7, r1",
        "add r8, r7, r5",
        "dlstp.8 lr, r6",
        "3:",
        "vldrb.u8 q0, [r7], #16",
        "vstrb.8 q0, [r2], #16",
        "vldrb.u8 q1, [r8], #16",
        "vstrb.8 q1, [r3], #16",
        "letp lr, 3b",
        "5:",
        "sub r2, r2, r9",
        "sub r3, r3, r9",
        "subs r4, #1",
        "bne 2b",
        "pop {{r4-r9, pc}}",
        "4:",
        "dlstp.8 lr, r6",
        "6:",
        "vstrb.8 q2, [r2], #16",
        "vstrb.8 q2, [r3], #16",
        "letp lr, 6b",
        "b 5b",
    )
}
