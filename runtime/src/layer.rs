//! A layer of a loaded model: its description, and the arrays it works with.

use core::num::NonZeroUsize;

use crate::format::{self, FLAG_NEGATIVE_MULTIPLIERS, kind, output, wide};
use crate::plan::{Record, WORD_BYTES, taps};

/// `(H, W, C)` of an image or of activations, channels last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Channels.
    pub channels: usize,
}

impl Shape {
    /// Bytes of one row, W x C.
    pub const fn row_len(&self) -> usize {
        self.width.saturating_mul(self.channels)
    }

    /// Bytes of all rows, H x W x C.
    pub const fn len(&self) -> usize {
        self.row_len().saturating_mul(self.height)
    }

    /// Whether there are no elements; never so in a loaded model.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<[usize; 3]> for Shape {
    fn from([height, width, channels]: [usize; 3]) -> Self {
        Shape { height, width, channels }
    }
}

/// Shape of an image, `(H, W, C)`.
pub type ImageShape = Shape;

/// What a layer computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerKind {
    /// 2-D convolution.
    Conv2d,
    /// Transposed 2-D convolution.
    ConvTranspose2d,
    /// Fully connected.
    Linear,
    /// Nearest-neighbor upsampling by whole factors.
    UpsampleNearest,
    /// Maximum over windows.
    MaxPool,
}

impl LayerKind {
    /// The name used in tables: `conv2d`, `conv_transpose2d`, `linear`, `upsample_nearest`, `max_pool`.
    pub const fn name(self) -> &'static str {
        match self {
            LayerKind::Conv2d => "conv2d",
            LayerKind::ConvTranspose2d => "conv_transpose2d",
            LayerKind::Linear => "linear",
            LayerKind::UpsampleNearest => "upsample_nearest",
            LayerKind::MaxPool => "max_pool",
        }
    }
}

/// A layer of a loaded model.
#[derive(Debug, Clone, Copy)]
pub struct Layer<'a> {
    pub(crate) record: Record,
    pub(crate) kind: LayerKind,
    /// int8, as laid out in the format; empty for layers without weights.
    pub(crate) weights: &'a [u8],
    /// int32.
    pub(crate) biases: &'a [u8],
    /// int32, one for each channel or feature.
    pub(crate) multipliers: &'a [u8],
    /// int32, used where the accumulator is negative; the same as `multipliers` unless the layer is leaky.
    pub(crate) negative_multipliers: &'a [u8],
    /// u8, from accumulators to pixels; or int8, from activations to activations.
    pub(crate) table: &'a [u8],
}

impl<'a> Layer<'a> {
    /// Finds a layer's arrays in the data section.
    pub(crate) fn new(data: &'a [u8], record: Record) -> Layer<'a> {
        let sizes = Sizes::of(&record);
        let array = |offset, bytes| array(data, offset, bytes);
        let multipliers = array(record.multiplier, sizes.multipliers);
        Layer {
            kind: match record.kind {
                kind::CONV2D => LayerKind::Conv2d,
                kind::CONV_TRANSPOSE2D => LayerKind::ConvTranspose2d,
                kind::LINEAR => LayerKind::Linear,
                kind::UPSAMPLE_NEAREST => LayerKind::UpsampleNearest,
                _ => LayerKind::MaxPool,
            },
            weights: array(record.weight, sizes.weights),
            biases: array(record.bias, sizes.biases),
            multipliers,
            negative_multipliers: if record.flags & FLAG_NEGATIVE_MULTIPLIERS == 0 {
                multipliers
            } else {
                array(record.negative_multiplier, sizes.multipliers)
            },
            table: array(record.table, record.table_length()),
            record,
        }
    }

    /// What it computes.
    pub fn kind(&self) -> LayerKind {
        self.kind
    }

    /// Shape of its input; `(1, 1, L)` for the decoder's first layer.
    pub fn input(&self) -> Shape {
        self.record.input_shape().into()
    }

    /// Shape of its output.
    pub fn output(&self) -> Shape {
        self.record.output_shape().into()
    }

    /// Kernel size (vertical, horizontal); (1, 1) for linear layers and upsampling.
    pub fn kernel(&self) -> (usize, usize) {
        self.record.kernel().into()
    }

    /// Stride (vertical, horizontal); the factors for upsampling.
    pub fn stride(&self) -> (usize, usize) {
        self.record.stride().into()
    }

    /// [`stride`](Self::stride), by whose type no division panics; never 0 in a loaded model.
    #[inline]
    pub(crate) fn strides(&self) -> [NonZeroUsize; 2] {
        self.record.stride().map(|stride| NonZeroUsize::new(stride).unwrap_or(NonZeroUsize::MIN))
    }

    /// Padding (above, left).
    pub fn padding(&self) -> (usize, usize) {
        self.record.padding().into()
    }

    /// Whether its int8 outputs go through a table, which stands for any function of one number, such as tanh.
    pub fn has_activation_table(&self) -> bool {
        self.record.output == output::INT8 && !self.table.is_empty()
    }

    /// Multiply-adds for one image, those on padding included.
    pub fn macs(&self) -> u64 {
        let [height, width, channels] = self.record.output_shape().map(wide);
        let in_channels = wide(self.input().channels);
        let [kernel_height, kernel_width] = self.record.kernel().map(wide);
        let pairs = channels.saturating_mul(in_channels);
        match self.kind {
            LayerKind::Conv2d => {
                [height, width, kernel_height, kernel_width].into_iter().fold(pairs, u64::saturating_mul)
            }
            LayerKind::ConvTranspose2d => pairs.saturating_mul(self.tap_sum(0)).saturating_mul(self.tap_sum(1)),
            LayerKind::Linear => wide(self.output().len()).saturating_mul(wide(self.input().len())),
            LayerKind::UpsampleNearest | LayerKind::MaxPool => 0,
        }
    }

    /// Taps of a transposed convolution, summed over the output positions of axis 0 (vertical) or 1 (horizontal).
    fn tap_sum(&self, axis: usize) -> u64 {
        let field = |values: &[usize]| values.get(axis).copied().unwrap_or(1);
        let kernel = field(&self.record.kernel());
        let stride = self.strides().get(axis).copied().unwrap_or(NonZeroUsize::MIN);
        let padding = field(&self.record.padding());
        (0..field(&self.record.output_shape()))
            .map(|position| wide(taps(kernel, stride.get(), position.saturating_add(padding) % stride)))
            .fold(0, u64::saturating_add)
    }

    /// Bytes of weights.
    pub fn weight_bytes(&self) -> usize {
        self.weights.len()
    }

    /// Bytes of weights, biases, multipliers and table.
    pub fn parameter_bytes(&self) -> usize {
        let negative =
            if self.record.flags & FLAG_NEGATIVE_MULTIPLIERS == 0 { 0 } else { self.negative_multipliers.len() };
        [self.biases.len(), self.multipliers.len(), negative, self.table.len()]
            .into_iter()
            .fold(self.weights.len(), usize::saturating_add)
    }

    /// Input rows that must have arrived before output row `y` can be computed.
    pub(crate) fn rows_needed(&self, y: usize) -> usize {
        let [kernel, _] = self.record.kernel();
        let [stride, _] = self.strides();
        let [padding, _] = self.record.padding();
        let height = self.input().height;
        let needed = match self.kind {
            LayerKind::Conv2d | LayerKind::MaxPool => (y * stride.get() + kernel).saturating_sub(padding),
            LayerKind::ConvTranspose2d => {
                let position = y + padding;
                if taps(kernel, stride.get(), position % stride) == 0 { 0 } else { position / stride + 1 }
            }
            LayerKind::Linear => height,
            LayerKind::UpsampleNearest => y / stride + 1,
        };
        needed.min(height)
    }
}

/// The `bytes` bytes from an offset on; none if they are not all there.
#[inline(never)]
pub(crate) fn array(data: &[u8], offset: u32, bytes: usize) -> &[u8] {
    format::from_byte(data, format::size_of_u32(offset)).get(..bytes).unwrap_or(&[])
}

/// Bytes of a layer's arrays.
pub(crate) struct Sizes {
    pub(crate) weights: usize,
    pub(crate) biases: usize,
    pub(crate) multipliers: usize,
    /// Products summed for one output.
    pub(crate) products: usize,
}

impl Sizes {
    pub(crate) fn of(record: &Record) -> Sizes {
        let product = |factors: &[usize]| factors.iter().copied().fold(1, usize::saturating_mul);
        let [kernel_height, kernel_width] = record.kernel();
        let [stride_height, stride_width] = record.stride();
        let [_, _, in_channels] = record.input_shape();
        let [_, _, out_channels] = record.output_shape();
        let window = product(&[kernel_height, kernel_width, in_channels]);
        let (products, outputs, phases) = match record.kind {
            kind::CONV2D => (window, out_channels, 1),
            kind::CONV_TRANSPOSE2D => (window, out_channels, stride_height.saturating_mul(stride_width)),
            kind::LINEAR => (product(&record.input_shape()), product(&record.output_shape()), 1),
            _ => (0, 0, 0),
        };
        Sizes {
            weights: products.saturating_mul(outputs),
            biases: product(&[outputs, phases, WORD_BYTES]),
            multipliers: outputs.saturating_mul(WORD_BYTES),
            products,
        }
    }
}
