//! Matrix products on slices, over the `gemm` crate.

use gemm::Parallelism;
use rayon::prelude::*;

/// A matrix in a slice: element `(row, column)` lies at `row·row_stride + column·column_stride`.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// The row-major matrix of `columns` columns that fills `data`.
    pub fn new(data: &'a [f32], columns: usize) -> Self {
        assert_eq!(data.len() % columns, 0, "{} values in rows of {columns}", data.len());
        Self { data, rows: data.len() / columns, columns, row_stride: columns, column_stride: 1 }
    }

    /// The transpose, without moving anything.
    pub fn t(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// What a product does with the values that its output holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// `out = left·right`.
    Overwrite,
    /// `out += left·right`.
    Add,
}

/// `left·right` to `out`, row-major `(left.rows, right.columns)`, on the calling thread.
pub fn matmul(out: &mut [f32], left: Matrix, right: Matrix, output: Output) {
    assert_eq!(out.len(), left.rows * right.columns, "output size");
    // SAFETY: `out` holds left.rows rows of right.columns values, all borrowed mutably here.
    unsafe { product(out.as_mut_ptr(), right.columns, left, right, output) }
}

/// [`matmul`] on all threads; the result is the same for any number of them.
pub fn matmul_parallel(out: &mut [f32], left: Matrix, right: Matrix, output: Output) {
    assert_eq!(out.len(), left.rows * right.columns, "output size");
    // The crate's own way to share a product out is slower for few rows and a row-major right side.
    const BLOCK: usize = 128;
    let start = Pointer(out.as_mut_ptr());
    (0..right.columns.div_ceil(BLOCK)).into_par_iter().for_each(|block| {
        let columns = block * BLOCK..right.columns.min((block + 1) * BLOCK);
        let part = Matrix { data: &right.data[columns.start * right.column_stride..], columns: columns.len(), ..right };
        // SAFETY: `out` holds left.rows rows of right.columns values; this writes to the columns of this block alone, which
        // lie in each row and belong to no other block, and `out` stays borrowed until all blocks are done.
        unsafe { product(start.get().add(columns.start), right.columns, left, part, output) }
    });
}

/// A pointer that threads share.
struct Pointer(*mut f32);

// SAFETY: whoever dereferences it says why no two threads do so at the same place.
unsafe impl Sync for Pointer {}

impl Pointer {
    fn get(&self) -> *mut f32 {
        self.0
    }
}

/// `left·right` to the matrix at `out` whose rows lie `row_stride` apart.
///
/// # Safety
/// For each of left.rows rows, right.columns values at `out + row·row_stride` may be read and written, and nobody else does.
unsafe fn product(out: *mut f32, row_stride: usize, left: Matrix, right: Matrix, output: Output) {
    assert_eq!(left.columns, right.rows, "inner dimensions");
    // SAFETY: the caller vouches for `out`. The others are slices that hold every element of their matrices: `Matrix::new` checks
    // a whole one, a transpose is the same elements, and a block of columns starts within its slice and ends with its rows.
    unsafe {
        gemm::gemm(
            left.rows,
            right.columns,
            left.columns,
            out,
            1,
            row_stride as isize,
            output == Output::Add,
            left.data.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.data.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}
