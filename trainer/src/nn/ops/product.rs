//! Products of many rows with a weight, and the sums over rows that are their gradients, for devices without fused layers.
//!
//! The gradient of a convolution's weight is a product as long as there are windows in a batch and as small as a kernel. A GPU's
//! library computes it on a few of its multiprocessors, so it is cut into parts that are products of their own.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, WithDType, backend::BackendStorage};

use super::operation::{Operation, apply1};

/// Rows that one part of a sum has, about.
const ROWS: usize = 1024;
/// Rows that one thread of a GPU adds up at most.
const FOLD: usize = 64;

/// rows·Wᵀ: `rows (R, K)`, `weight (O, K)` to `(R, O)`.
pub fn project(rows: &Tensor, weight: &Tensor) -> Result<Tensor> {
    rows.contiguous()?.apply_op2(&weight.contiguous()?, Product::Project)
}

/// rows·W: `rows (R, O)`, `weight (O, K)` to `(R, K)`.
pub fn expand(rows: &Tensor, weight: &Tensor) -> Result<Tensor> {
    rows.contiguous()?.apply_op2(&weight.contiguous()?, Product::Expand)
}

/// The sum of each column: `(R, C)` to `(C)`; no gradients.
pub fn column_sums(x: &Tensor) -> Result<Tensor> {
    let mut x = x.detach();
    while x.dim(0)? > 1 {
        let (rows, columns) = x.dims2()?;
        x = apply1(FoldRows { rows, columns, parts: rows.div_ceil(FOLD) }, &x)?;
    }
    x.squeeze(0)
}

#[derive(Debug, Clone, Copy)]
enum Product {
    Project,
    Expand,
}

impl Product {
    fn run<S: BackendStorage>(self, rows: &S, rows_l: &Layout, weight: &S, weight_l: &Layout) -> Result<(S, Shape)> {
        let ((r, inner), (o, k)) = (rows_l.shape().dims2()?, weight_l.shape().dims2()?);
        let (expected, columns, strides) = match self {
            Self::Project => (k, o, vec![1, k]),
            Self::Expand => (o, k, vec![k, 1]),
        };
        if inner != expected {
            candle_core::bail!("{self:?}: rows of {inner} values for a weight of {o} x {k}");
        }
        let right = Layout::new(Shape::from((inner, columns)), strides, weight_l.start_offset());
        let product = rows.matmul(weight, (1, r, columns, inner), rows_l, &right)?;
        Ok((product, Shape::from((r, columns))))
    }
}

impl CustomOp2 for Product {
    fn name(&self) -> &'static str {
        "product"
    }

    fn cpu_fwd(&self, a: &CpuStorage, a_l: &Layout, b: &CpuStorage, b_l: &Layout) -> Result<(CpuStorage, Shape)> {
        self.run(a, a_l, b, b_l)
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        a: &candle_core::CudaStorage,
        a_l: &Layout,
        b: &candle_core::CudaStorage,
        b_l: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        self.run(a, a_l, b, b_l)
    }

    fn bwd(&self, rows: &Tensor, weight: &Tensor, _: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let g = g.contiguous()?;
        let of_rows = rows.track_op().then(|| match self {
            Self::Project => expand(&g, weight),
            Self::Expand => project(&g, weight),
        });
        let of_weight = weight.track_op().then(|| match self {
            Self::Project => sum_of_outer_products(&g, rows),
            Self::Expand => sum_of_outer_products(rows, &g),
        });
        Ok((of_rows.transpose()?, of_weight.transpose()?))
    }
}

/// aᵀ·b over the rows: `a (R, M)`, `b (R, N)`, contiguous, to `(M, N)`.
fn sum_of_outer_products(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let ((rows, m), (_, n)) = (a.dims2()?, b.dims2()?);
    let parts = (1..=rows / ROWS).rev().find(|&parts| rows.is_multiple_of(parts)).unwrap_or(1);
    let a = a.reshape((parts, rows / parts, m))?.transpose(1, 2)?;
    let products = a.matmul(&b.reshape((parts, rows / parts, n))?)?;
    column_sums(&products.reshape((parts, m * n))?)?.reshape((m, n))
}

/// Every `parts`-th row added up: `(R, C)` to `(parts, C)`.
struct FoldRows {
    rows: usize,
    columns: usize,
    parts: usize,
}

impl Operation<1> for FoldRows {
    fn name(&self) -> &'static str {
        "fold_rows"
    }

    fn shape(&self, _: [&Shape; 1]) -> Shape {
        Shape::from((self.parts, self.columns))
    }

    fn values<T: WithDType>(&self, [x]: [&[T]; 1]) -> Vec<T> {
        let mut sums = vec![T::zero(); self.parts * self.columns];
        for (r, row) in (0..self.rows).zip(x.chunks_exact(self.columns)) {
            let part = r % self.parts * self.columns;
            sums[part..part + self.columns].iter_mut().zip(row).for_each(|(sum, &value)| *sum += value);
        }
        sums
    }

    fn numbers(&self) -> Vec<usize> {
        vec![self.rows, self.columns, self.parts]
    }
}
