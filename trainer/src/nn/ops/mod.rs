//! The operations that training time goes into, each with its gradient.
//!
//! On the CPU they are fused custom operations of candle, parallel over images; on other devices [`neutral`] composes them of
//! candle's own. Activations are channels-last, `(N, H, W, C)`; weights are as PyTorch stores them.
//! A sum over a batch is split into a fixed number of parts, so results do not depend on the number of threads.

mod activation;
pub mod adam;
mod bernoulli;
mod convolution;
mod gemm;
mod linear;
pub mod neutral;
mod window;

pub use bernoulli::bernoulli_nll;
pub use convolution::{conv_transpose2d, conv2d};
pub use linear::linear;
pub use window::Window;

use candle_core::{CpuStorage, Layout, Result, bail};

/// The values of a contiguous f32 tensor on the CPU.
fn f32s<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => bail!("expected a contiguous tensor, found strides {:?}", layout.stride()),
    }
}

/// Into how many parts a batch of `n` images is split where a sum runs over it.
fn batch_parts(n: usize) -> usize {
    n.clamp(1, 8)
}
