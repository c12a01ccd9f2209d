//! Layer records and arrays from natural weights.

use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

use safetensors::tensor::Dtype;

use super::container::Tensor;
use super::{WriteError, field8, field16, field32, set};
use crate::error::{Expected, Place};
use crate::format::{self, FLAG_NEGATIVE_MULTIPLIERS, RECORD_BYTES, RecordBytes, kind, layer, output};
use crate::layer::Shape;
use crate::plan::taps;

/// How a layer's outputs leave its accumulators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputSpec {
    /// int8 activations for the next layer.
    Int8 {
        /// The int8 that stands for 0.
        zero_point: i8,
        /// Least activation: the zero point for ReLU.
        minimum: i8,
        /// Largest activation.
        maximum: i8,
    },
    /// int8 activations for the next layer, through a table that stands for any function of one number.
    Table {
        /// The int8 that stands for 0 before the table.
        zero_point: i8,
        /// 256 activations; the one of int8 y lies at y + 128.
        table: Vec<i8>,
        /// The int8 that stands for 0 behind the table.
        table_zero_point: i8,
    },
    /// The code, from an encoder's last layer.
    Code,
    /// Pixels, from a decoder's last layer.
    Pixels {
        /// An even number of pixel values; the middle one, at length / 2, is that of an accumulator around 0.
        table: Vec<u8>,
    },
}

/// Weights and arithmetic of a layer. "Channels" are features in a linear layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameters {
    /// int8: `(out C, kernel H, kernel W, in C)` for convolutions, transposed ones in the kernel's natural order too;
    /// `(out features, in features)` for linear layers.
    pub weights: Vec<i8>,
    /// int32, `(out C)`, in units of input scale x weight scale, for inputs whose zero point has been subtracted.
    pub biases: Vec<i32>,
    /// `(out C)`, at least 0: an accumulator times this, shifted, is the output.
    pub multipliers: Vec<i32>,
    /// `(out C)`: used instead where the accumulator is negative, for leaky activations.
    pub negative_multipliers: Option<Vec<i32>>,
    /// 1 to 62.
    pub shift: u8,
    /// Where the result goes.
    pub output: OutputSpec,
}

/// Kernel, stride and padding, (vertical, horizontal) each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Kernel size, 1 to 16.
    pub kernel: [usize; 2],
    /// Stride, 1 to 16.
    pub stride: [usize; 2],
    /// Padding above and to the left, less than the kernel.
    pub padding: [usize; 2],
}

/// A layer, before it becomes bytes. Its input is the output of the layer before, or the image, or the latents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayerSpec {
    /// 2-D convolution.
    Conv2d {
        /// Kernel, stride and padding.
        window: Window,
        /// Output shape `(H, W, C)`.
        output: Shape,
        /// Weights and arithmetic.
        parameters: Parameters,
    },
    /// Transposed 2-D convolution.
    ConvTranspose2d {
        /// Kernel, stride and padding.
        window: Window,
        /// Output shape `(H, W, C)`.
        output: Shape,
        /// Weights and arithmetic.
        parameters: Parameters,
    },
    /// Fully connected; its input is flattened in `(H, W, C)` order.
    Linear {
        /// Output shape `(H, W, C)`, which the features fill in that order.
        output: Shape,
        /// Weights and arithmetic.
        parameters: Parameters,
    },
    /// Nearest-neighbor upsampling.
    UpsampleNearest {
        /// Output rows for each input row, and columns for each column.
        factor: [usize; 2],
    },
    /// Maximum over windows; padding does not take part.
    MaxPool {
        /// Kernel, stride and padding.
        window: Window,
        /// Output height and width.
        output: [usize; 2],
    },
}

/// What reaches a layer.
#[derive(Clone, Copy)]
pub(super) struct Input {
    pub(super) shape: Shape,
    pub(super) zero_point: i8,
}

/// An array, and where in the plan its offset belongs.
pub(super) struct Array {
    pub(super) offset_field: usize,
    pub(super) tensor: Tensor,
}

impl LayerSpec {
    /// Appends the layer's record and arrays; returns what reaches the next layer.
    pub(super) fn write(
        &self,
        place: Place,
        input: Input,
        plan: &mut Vec<u8>,
        arrays: &mut Vec<Array>,
    ) -> Result<Input, WriteError> {
        let Shape { height, width, channels } = input.shape;
        let single = Window { kernel: [1; 2], stride: [1; 2], padding: [0; 2] };
        let (code, window, output, parameters) = match self {
            LayerSpec::Conv2d { window, output, parameters } => (kind::CONV2D, *window, *output, Some(parameters)),
            LayerSpec::ConvTranspose2d { window, output, parameters } => {
                (kind::CONV_TRANSPOSE2D, *window, *output, Some(parameters))
            }
            LayerSpec::Linear { output, parameters } => (kind::LINEAR, single, *output, Some(parameters)),
            LayerSpec::UpsampleNearest { factor: [vertical, horizontal] } => {
                let output = Shape {
                    height: height.saturating_mul(*vertical),
                    width: width.saturating_mul(*horizontal),
                    channels,
                };
                (kind::UPSAMPLE_NEAREST, Window { stride: [*vertical, *horizontal], ..single }, output, None)
            }
            LayerSpec::MaxPool { window, output: [height, width] } => {
                (kind::MAX_POOL, *window, Shape { height: *height, width: *width, channels }, None)
            }
        };
        let mut record = [0; RECORD_BYTES];
        set(&mut record, layer::KIND, [code]);
        let shapes = [(layer::INPUT_SHAPE, input.shape), (layer::OUTPUT_SHAPE, output)];
        for (at, Shape { height, width, channels }) in shapes {
            let fields = ["height", "width", "channels"].into_iter().zip([height, width, channels]);
            for ((field, value), at) in fields.zip((at..).step_by(2)) {
                set(&mut record, at, field16(place, field, value)?);
            }
        }
        let pairs = [
            ("kernel", layer::KERNEL, window.kernel),
            ("stride", layer::STRIDE, window.stride),
            ("padding", layer::PADDING, window.padding),
        ];
        for (field, at, [vertical, horizontal]) in pairs {
            set(&mut record, at, field8(place, field, vertical)?);
            set(&mut record, at + 1, field8(place, field, horizontal)?);
        }
        set(&mut record, layer::INPUT_ZERO_POINT, input.zero_point.to_le_bytes());

        let mut zero_point = input.zero_point;
        let range = match parameters.map(|parameters| &parameters.output) {
            None => [zero_point, i8::MIN, i8::MAX],
            Some(OutputSpec::Int8 { zero_point, minimum, maximum }) => [*zero_point, *minimum, *maximum],
            Some(OutputSpec::Table { zero_point, .. }) => [*zero_point, i8::MIN, i8::MAX],
            Some(OutputSpec::Code | OutputSpec::Pixels { .. }) => [0, i8::MIN, i8::MAX],
        };
        [zero_point, ..] = range;
        if let Some(OutputSpec::Table { table_zero_point, .. }) = parameters.map(|parameters| &parameters.output) {
            zero_point = *table_zero_point;
        }
        set(&mut record, layer::OUTPUT_ZERO_POINT, range.map(i8::cast_unsigned));

        if let Some(parameters) = parameters {
            let writer = Weighted { place, code, window, input, output, parameters };
            writer.write(&mut record, plan.len(), arrays)?;
        }
        plan.extend(record);
        Ok(Input { shape: output, zero_point })
    }
}

/// A layer with weights on its way into the file.
struct Weighted<'a> {
    place: Place,
    code: u8,
    window: Window,
    input: Input,
    output: Shape,
    parameters: &'a Parameters,
}

impl Weighted<'_> {
    /// Fills the arithmetic fields of the record, which lies at `start` in the plan, and adds its arrays.
    fn write(&self, record: &mut [u8], start: usize, arrays: &mut Vec<Array>) -> Result<(), WriteError> {
        let Parameters { multipliers, negative_multipliers, shift, output, .. } = self.parameters;
        self.check_lengths()?;
        set(record, layer::SHIFT, [*shift]);

        let (weights, biases) = self.fold()?;
        let [kernel_height, kernel_width] = self.window.kernel;
        let [stride_height, stride_width] = self.window.stride;
        let channels = self.output.channels;
        let (weight_shape, bias_shape) = match self.code {
            kind::CONV2D => (vec![channels, kernel_height, kernel_width, self.input.shape.channels], vec![channels]),
            kind::CONV_TRANSPOSE2D => (vec![weights.len()], vec![stride_height, stride_width, channels]),
            _ => (vec![self.output.len(), self.input.shape.len()], vec![self.output.len()]),
        };
        let mut add = |field: usize, name: &str, dtype, shape: Vec<usize>, bytes| {
            let name = std::format!("{}.{name}", self.prefix());
            arrays.push(Array { offset_field: start + field, tensor: Tensor { name, dtype, shape, bytes } });
        };
        let weights = weights.into_iter().map(i8::cast_unsigned).collect();
        add(layer::WEIGHT, "weight", Dtype::I8, weight_shape, weights);
        add(layer::BIAS, "bias", Dtype::I32, bias_shape, words(&biases));
        add(layer::MULTIPLIER, "multiplier", Dtype::I32, vec![multipliers.len()], words(multipliers));
        if let Some(negative) = negative_multipliers {
            set(record, layer::FLAGS, [FLAG_NEGATIVE_MULTIPLIERS]);
            let shape = vec![negative.len()];
            add(layer::NEGATIVE_MULTIPLIER, "negative_multiplier", Dtype::I32, shape, words(negative));
        }
        match output {
            OutputSpec::Int8 { .. } => {}
            OutputSpec::Table { table, table_zero_point, .. } => {
                set(record, layer::TABLE_LENGTH, field16(self.place, "table length", table.len())?);
                set(record, layer::TABLE_ZERO_POINT, table_zero_point.to_le_bytes());
                let entries = table.iter().map(|entry| entry.cast_unsigned()).collect();
                add(layer::TABLE, "table", Dtype::I8, vec![table.len()], entries);
            }
            OutputSpec::Code => set(record, layer::OUTPUT, [output::CODE]),
            OutputSpec::Pixels { table } => {
                set(record, layer::OUTPUT, [output::PIXELS]);
                set(record, layer::TABLE_LENGTH, field16(self.place, "table length", table.len())?);
                add(layer::TABLE, "table", Dtype::U8, vec![table.len()], table.clone());
            }
        }
        Ok(())
    }

    /// The tensors' names start with this.
    fn prefix(&self) -> String {
        match self.place {
            Place::Encoder(index) => std::format!("encoder.{index}"),
            Place::Decoder(index) => std::format!("decoder.{index}"),
            other => other.to_string(),
        }
    }

    /// Output channels, or features of a linear layer.
    fn outputs(&self) -> usize {
        if self.code == kind::LINEAR { self.output.len() } else { self.output.channels }
    }

    /// Products of one output of the whole kernel.
    fn products(&self) -> usize {
        let [kernel_height, kernel_width] = self.window.kernel;
        if self.code == kind::LINEAR {
            self.input.shape.len()
        } else {
            kernel_height.saturating_mul(kernel_width).saturating_mul(self.input.shape.channels)
        }
    }

    fn check_lengths(&self) -> Result<(), WriteError> {
        let Parameters { weights, biases, multipliers, negative_multipliers, .. } = self.parameters;
        let outputs = self.outputs();
        let negative = negative_multipliers.as_ref().map_or(outputs, Vec::len);
        let lengths = [
            ("weight", outputs.saturating_mul(self.products()), weights.len()),
            ("bias", outputs, biases.len()),
            ("multiplier", outputs, multipliers.len()),
            ("negative_multiplier", outputs, negative),
        ];
        for (array, expected, found) in lengths {
            if found != expected {
                return Err(WriteError::Length { place: self.place, array, expected, found });
            }
        }
        Ok(())
    }

    /// Weights as stored, and biases with the input zero point folded in: bias - zero_point · Σw.
    fn fold(&self) -> Result<(Vec<i8>, Vec<i32>), WriteError> {
        let mut stored = Vec::with_capacity(self.parameters.weights.len());
        let mut folded = Vec::new();
        let phases = if self.code == kind::CONV_TRANSPOSE2D { phases(self.window.stride) } else { vec![[0; 2]] };
        for phase in phases {
            for (weights, bias) in self.parameters.weights.chunks(self.products().max(1)).zip(&self.parameters.biases) {
                let start = stored.len();
                self.append_taps(phase, weights, &mut stored);
                let sum: i64 = stored.iter().skip(start).map(|weight| i64::from(*weight)).sum();
                let found = i64::from(*bias) - i64::from(self.input.zero_point) * sum;
                let expected = Expected::Between(i32::MIN.into(), i32::MAX.into());
                let error = WriteError::Value { place: self.place, field: "folded bias", found, expected };
                folded.push(i32::try_from(found).map_err(|_| error)?);
            }
        }
        Ok((stored, folded))
    }

    /// Appends the weights of one output channel, `(kernel H, kernel W, in C)`, that belong to a phase.
    fn append_taps(&self, phase: [usize; 2], weights: &[i8], stored: &mut Vec<i8>) {
        if self.code != kind::CONV_TRANSPOSE2D {
            return stored.extend(weights);
        }
        let elements = phase_elements(self.window.kernel, self.window.stride, self.input.shape.channels, phase);
        stored.extend(elements.filter_map(|element| weights.get(element)));
    }
}

/// (row, column) phases of a transposed convolution in file order.
pub(super) fn phases([rows, columns]: [usize; 2]) -> Vec<[usize; 2]> {
    (0..rows).flat_map(|row| (0..columns).map(move |column| [row, column])).collect()
}

/// Where the weights of a phase lie in a transposed convolution's `(kernel H, kernel W, in C)`, in file order.
pub(super) fn phase_elements(
    [kernel_height, kernel_width]: [usize; 2],
    [stride_height, stride_width]: [usize; 2],
    channels: usize,
    [row, column]: [usize; 2],
) -> impl Iterator<Item = usize> {
    // Kernel rows r, r + s, … in falling order read input rows in rising order.
    (0..taps(kernel_height, stride_height, row)).rev().flat_map(move |tap_row| {
        (0..taps(kernel_width, stride_width, column)).rev().flat_map(move |tap_column| {
            let (y, x) = (row + tap_row * stride_height, column + tap_column * stride_width);
            (0..channels).map(move |channel| (y * kernel_width + x) * channels + channel)
        })
    })
}

/// int32 as bytes.
fn words(values: &[i32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Moves the array offsets of a layer record from behind a plan of `from` bytes to behind one of `to` bytes.
pub(super) fn move_arrays(record: &mut RecordBytes, from: usize, to: usize) -> Result<(), WriteError> {
    for at in [layer::WEIGHT, layer::BIAS, layer::MULTIPLIER, layer::NEGATIVE_MULTIPLIER, layer::TABLE] {
        let offset = format::size_of_u32(format::u32_at(record, at));
        if offset != 0 {
            let moved = offset.saturating_sub(from).saturating_add(to);
            set(record, at, field32(Place::Header, "data section length", moved)?);
        }
    }
    Ok(())
}
