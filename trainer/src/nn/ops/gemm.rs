//! Matrix products on slices, over the `gemm` crate.

use gemm::Parallelism;

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
    product(out, left, right, output, Parallelism::None);
}

/// [`matmul`] on all threads; the result is the same for any number of them.
pub fn matmul_parallel(out: &mut [f32], left: Matrix, right: Matrix, output: Output) {
    let threads = rayon::current_num_threads();
    product(out, left, right, output, if threads > 1 { Parallelism::Rayon(threads) } else { Parallelism::None });
}

fn product(out: &mut [f32], left: Matrix, right: Matrix, output: Output, parallelism: Parallelism) {
    assert_eq!(left.columns, right.rows, "inner dimensions");
    assert_eq!(out.len(), left.rows * right.columns, "output size");
    // SAFETY: the three pointers come from slices whose lengths are rows·columns of their matrices (checked in
    // `Matrix::new` and above), the strides are those of a row-major matrix or its transpose, and `out` is borrowed
    // mutably, so it overlaps neither operand.
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
            parallelism,
        );
    }
}
