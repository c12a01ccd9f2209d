//! The operations that training time goes into, on slices of CPU memory, parallel and without allocations.
//!
//! Between layers the batch lies inside: images are `(H, W, N, C)`, so that a row of all images is one matrix, and features are
//! `(features, N)`. Weights are as PyTorch stores them. [`neutral`] composes the same layers of candle's operations: for other devices, and
//! as the slow reference. A sum over a batch is split into a fixed number of parts, so results do not depend on the number of
//! threads.

pub mod activation;
pub mod adam;
mod bernoulli;
mod bias;
pub mod buffers;
pub mod convolution;
#[cfg(feature = "cuda")]
mod cuda;
mod elementary;
pub mod gemm;
pub mod linear;
pub mod neutral;
mod operation;
mod patches;
pub mod permute;
mod product;
pub mod resample;
mod window;

pub use bernoulli::bernoulli_nll;
pub use bias::bias_activation;
pub use patches::Patches;
pub use window::Geometry;

use std::{cell::Cell, ops::Deref};

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Storage, StorageRef, Tensor, WithDType, bail};
use rayon::prelude::*;

/// The values of a contiguous tensor on the CPU.
fn contiguous<'a, T: WithDType>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<T>()?[start..end]),
        None => bail!("expected a contiguous tensor, found strides {:?}", layout.stride()),
    }
}

/// The values of a contiguous f32 tensor on the CPU.
fn f32s<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    contiguous(storage, layout)
}

/// The values of a contiguous f32 tensor on the CPU, borrowed.
pub struct Values<'a> {
    storage: StorageRef<'a>,
    layout: &'a Layout,
}

/// Borrows the values of a contiguous f32 tensor on the CPU.
pub fn values(tensor: &Tensor) -> Result<Values<'_>> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => f32s(storage, layout)?,
        _ => bail!("expected a tensor on the CPU"),
    };
    Ok(Values { storage, layout })
}

impl Deref for Values<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.storage {
            // Checked when it was borrowed.
            Storage::Cpu(storage) => f32s(storage, self.layout).unwrap_or(&[]),
            _ => &[],
        }
    }
}

/// Calls `f` with the values of a contiguous f32 tensor on the CPU, to change them in place.
pub fn write<T>(tensor: &Tensor, f: impl FnOnce(&mut [f32]) -> T) -> Result<T> {
    // candle hands out mutable storage to in-place operations alone.
    struct Write<F, T>(Cell<(Option<F>, Option<T>)>);
    impl<T, F: FnOnce(&mut [f32]) -> T> InplaceOp1 for Write<F, T> {
        fn name(&self) -> &'static str {
            "write"
        }

        fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
            match (storage, layout.contiguous_offsets(), self.0.take()) {
                (CpuStorage::F32(values), Some((start, end)), (Some(f), _)) => {
                    self.0.set((None, Some(f(&mut values[start..end]))));
                    Ok(())
                }
                _ => bail!("expected a contiguous f32 tensor"),
            }
        }
    }
    let operation = Write(Cell::new((Some(f), None)));
    tensor.inplace_op1(&operation)?;
    match operation.0.into_inner() {
        (_, Some(result)) => Ok(result),
        _ => bail!("expected a tensor on the CPU"),
    }
}

/// Runs plain loops compiled for the widest vectors that this machine has. Same results on all: no operation is reordered.
fn vectorized<T>(f: impl FnOnce() -> T) -> T {
    pulp::Arch::new().dispatch(f)
}

/// Into how many parts `n` things are split where a sum runs over them.
fn batch_parts(n: usize) -> usize {
    n.clamp(1, 8)
}

/// Adds up the parts, each as long as `sum`, in their order.
fn sum_parts(parts: &[f32], sum: &mut [f32]) {
    const CHUNK: usize = 1 << 12;
    let len = sum.len();
    sum.par_chunks_mut(CHUNK).enumerate().for_each(|(i, sum)| {
        sum.fill(0.0);
        for part in parts.chunks_exact(len) {
            let part = &part[i * CHUNK..][..sum.len()];
            vectorized(|| sum.iter_mut().zip(part).for_each(|(s, p)| *s += p));
        }
    });
}
