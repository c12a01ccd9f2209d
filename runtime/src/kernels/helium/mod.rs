//! Armv8.1-M's vector extension MVE, "Helium": Cortex-M52, M55 and M85.
//!
//! There are eight vectors of 16 bytes, and VMLADAVA multiplies two of them and adds all 16 products to an
//! even-numbered general register. A row of a convolution is computed in one of three ways:
//!
//! - [`vector`], where patches fit one vector: weights stay in vectors while patches pass;
//! - [`narrow`], for one or two channels: a row of weights meets four windows of the input at a time;
//! - [`wide`], all else: three rows of weights meet the patches of two outputs.
//!
//! Everything is loaded and stored byte by byte, except sums, which are aligned: vectors of bytes may lie anywhere.
//! Loops end in a vector that is not whole, whose other lanes the hardware leaves out: DLSTP counts elements, LETP
//! vectors.

mod bytes;
mod linear;
mod narrow;
mod outputs;
mod product;
mod vector;
mod wide;
mod windows;

pub(super) use self::linear::linear_row;
use self::outputs::Outputs;
use self::windows::Windows;
use super::convolution::Convolution;
use super::words::words_mut;
use crate::plan::WORD_BYTES;

/// Bytes of a vector.
const VECTOR_BYTES: usize = 16;

impl Convolution<'_> {
    /// Computes its outputs of a row, `(W, C)`.
    pub(super) fn row(&self, scratch: &mut [u8], output: &mut [u8]) {
        let windows = Windows::new(self);
        let mut outputs = Outputs::new(self, output);
        if vector::row(self, &windows, scratch, &mut outputs).is_some() {
            return;
        }
        if self.layer.output().channels <= narrow::CHANNELS {
            narrow::row(self, &windows, scratch, &mut outputs);
        } else {
            wide::row(self, &windows, scratch, &mut outputs);
        }
    }
}

/// `count` sums at the start of the scratch, and what lies behind them.
fn split_sums(scratch: &mut [u8], count: usize) -> (&mut [i32], &mut [u8]) {
    let start = scratch.as_ptr().align_offset(WORD_BYTES).min(scratch.len());
    let (_, aligned) = scratch.split_at_mut(start);
    let (sums, rest) = aligned.split_at_mut((count * WORD_BYTES).min(aligned.len()));
    (words_mut(sums), rest)
}
