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

    /// Some of the rows.
    fn rows(self, rows: std::ops::Range<usize>) -> Self {
        assert!(rows.end <= self.rows, "rows {rows:?} of {}", self.rows);
        Self { data: &self.data[rows.start * self.row_stride..], rows: rows.len(), ..self }
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
    assert_eq!(left.columns, right.rows, "inner dimensions");
    assert_eq!(out.len(), left.rows * right.columns, "output size");
    // SAFETY: `out` is a row-major matrix of the asserted size, borrowed mutably, so it overlaps neither operand. The operands are
    // slices that hold every element of their matrices: `Matrix::new` checks a whole one, a transpose has the same elements, and
    // some of the rows are some of the elements.
    unsafe {
        gemm::gemm(
            left.rows,
            right.columns,
            left.columns,
            out.as_mut_ptr(),
            1,
            right.columns as isize,
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

/// [`matmul`] on all threads, shared out by rows; the result is the same for any number of threads. With each rows of `out` that
/// are done, `then` is called with the number of the first one.
pub fn matmul_parallel(
    out: &mut [f32],
    left: Matrix,
    right: Matrix,
    output: Output,
    then: impl Fn(usize, &mut [f32]) + Sync,
) {
    const ROWS: usize = 256;
    assert_eq!(out.len(), left.rows * right.columns, "output size");
    out.par_chunks_mut(ROWS * right.columns).enumerate().for_each(|(chunk, out)| {
        let first = chunk * ROWS;
        matmul(out, left.rows(first..left.rows.min(first + ROWS)), right, output);
        then(first, out);
    });
}
