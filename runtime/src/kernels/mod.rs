//! The arithmetic of `docs/format.md`, section 5, one output row at a time.
//!
//! Activations and weights are int8 in memory of bytes, accumulators int32; all shapes are channels last. Layers with
//! weights gather patches of their input and leave the products to [`product`], the one part that differs between
//! instruction sets. [`narrow`] does without patches where they would cost more than the products.
//!
//! Stacks are small: what is `#[inline(never)]` has its variables there only while it runs.

#[cfg(kernel = "compact")]
mod compact;
mod convolution;
#[cfg(not(kernel = "helium"))]
mod dot;
#[cfg(kernel = "helium")]
#[expect(unsafe_code, reason = "vector instructions")]
mod helium;
#[cfg(patches)]
mod linear;
#[cfg(patches)]
mod narrow;
#[cfg(patches)]
mod product;
mod requantize;
mod resample;
#[expect(unsafe_code, reason = "bytes seen as words")]
mod words;

#[cfg(feature = "std")]
pub(crate) use self::requantize::requantize;
pub(crate) use words::{MISALIGNMENT, rings_mut};

#[cfg(kernel = "compact")]
use self::compact as linear;
#[cfg(kernel = "helium")]
use self::helium as linear;
use crate::format::ACTIVATIONS;
use crate::layer::{Layer, LayerKind};

/// The input of a layer: a ring buffer of whole rows, `(W, C)` each. Row y lies in slot y mod slots.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) bytes: &'a [u8],
    /// Bytes of a row.
    pub(crate) row_bytes: usize,
    /// Rows of the whole input.
    pub(crate) height: usize,
}

impl<'a> Rows<'a> {
    /// Row `y`; `None` above and below the image.
    #[inline]
    fn row(&self, y: isize) -> Option<&'a [u8]> {
        let y = usize::try_from(y).ok().filter(|y| *y < self.height)?;
        let slots = self.bytes.len() / self.row_bytes.max(1);
        let start = y % slots.max(1) * self.row_bytes;
        self.bytes.get(start..start + self.row_bytes)
    }
}

/// Computes row `y` of a layer's output, before its table. `latents`: the input is int16.
pub(crate) fn run_row(
    layer: &Layer<'_>,
    latents: bool,
    y: usize,
    input: Rows<'_>,
    scratch: &mut [u8],
    output: &mut [u8],
) {
    match layer.kind {
        LayerKind::Conv2d => convolution::conv2d_row(layer, y, input, scratch, output),
        LayerKind::ConvTranspose2d => convolution::conv_transpose2d_row(layer, y, input, scratch, output),
        LayerKind::Linear => linear::linear_row(layer, latents, y, input.bytes, scratch, output),
        LayerKind::UpsampleNearest => resample::upsample_nearest_row(layer, y, input, output),
        LayerKind::MaxPool => resample::max_pool_row(layer, y, input, output),
    }
}

/// Replaces each activation of a row by its entry in the layer's table, if it has one.
#[inline(never)]
pub(crate) fn look_up_row(layer: &Layer<'_>, activations: &mut [u8]) {
    if !layer.has_activation_table() {
        return;
    }
    let Some(table) = layer.table.first_chunk::<ACTIVATIONS>() else { return };
    for activation in activations {
        // y + 128 in two's complement is y with its top bit flipped.
        *activation = table[usize::from(*activation ^ 0x80)];
    }
}
