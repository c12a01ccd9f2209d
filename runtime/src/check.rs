//! The rules of `docs/format.md` for one record. What passes cannot overflow or reach outside its arrays.

use core::str;

use crate::error::{Expected, LoadError, Place};
use crate::format::{self, FLAG_NEGATIVE_MULTIPLIERS, MAX_NAME_BYTES, RecordBytes, factor, kind, layer, output, wide};
use crate::layer::{Sizes, array};
use crate::names::{Array, Field};
use crate::plan::{Record, WORD_BYTES};

/// Largest magnitude of an accumulator.
const ACCUMULATOR_MAX: u32 = 0x7fff_ffff;
/// Largest magnitude of a product of an int8 weight and an int8 activation after subtracting a zero point.
const ACTIVATION_PRODUCT_MAX: u32 = 128 * 255;
/// Largest magnitude of a product of an int8 weight and an int16 latent.
const LATENT_PRODUCT_MAX: u32 = 128 * 32768;

/// A rule is broken: the [`Inspection`] knows which.
#[derive(Debug)]
pub(crate) struct Broken;

/// The inspection of one file.
///
/// A loader is made of checks, about a hundred. For each to take few bytes of a small device's flash, they return
/// nothing: a refusal sticks, and [`verdict`](Self::verdict) tells.
pub(crate) struct Inspection {
    /// The record that is looked at.
    pub(crate) place: Place,
    /// Whether all checks passed so far.
    pub(crate) passes: bool,
    /// The first rule that is broken.
    pub(crate) reason: LoadError,
}

impl Inspection {
    /// Refuses the file for a reason.
    #[cold]
    #[inline(never)]
    pub(crate) fn refuse(&mut self, reason: LoadError) -> Broken {
        if self.passes {
            (self.passes, self.reason) = (false, reason);
        }
        Broken
    }

    /// Whether all checks passed so far.
    pub(crate) fn verdict(&self) -> Result<(), Broken> {
        if self.passes { Ok(()) } else { Err(Broken) }
    }

    #[cold]
    #[inline(never)]
    fn refuse_value(&mut self, field: Field, found: i64, expected: Expected) -> Broken {
        self.refuse(LoadError::Value { place: self.place, field, found, expected })
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn refuse_range(&mut self, field: Field, found: i64, low: i64, high: i64) -> Broken {
        let expected = if low == high { Expected::Exactly(low) } else { Expected::Between(low, high) };
        self.refuse_value(field, found, expected)
    }

    /// Refuses a number below `low` or above `high`.
    #[inline(never)]
    pub(crate) fn between(&mut self, field: Field, found: isize, low: isize, high: isize) {
        if !(low..=high).contains(&found) {
            let [found, low, high] = [found, low, high].map(|number| i64::try_from(number).unwrap_or(i64::MAX));
            self.refuse_range(field, found, low, high);
        }
    }

    /// Refuses a number other than `expected`.
    pub(crate) fn exactly(&mut self, field: Field, found: isize, expected: isize) {
        self.between(field, found, expected, expected);
    }

    /// Refuses a number above `limit`.
    #[inline(never)]
    pub(crate) fn at_most(&mut self, field: Field, found: u32, limit: u32) {
        if found > limit {
            self.refuse_range(field, found.into(), 0, limit.into());
        }
    }

    /// Refuses a shape other than `expected`.
    #[inline(never)]
    pub(crate) fn shape(&mut self, fields: &[Field; 3], found: &[usize; 3], expected: &[usize; 3]) {
        for ((field, found), expected) in fields.iter().zip(found).zip(expected) {
            self.exactly(*field, found.cast_signed(), expected.cast_signed());
        }
    }

    /// Refuses bytes that are not 0.
    pub(crate) fn zeros(&mut self, field: Field, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.exactly(field, isize::from(*byte), 0));
    }

    /// Checks one layer record and its arrays.
    pub(crate) fn layer(&mut self, bytes: &RecordBytes, at: &Position<'_>) -> Result<Record, Broken> {
        let record = Record::read(bytes);
        self.between(Field::Kind, record.kind.into(), 1, 5);
        self.exactly(Field::Output, record.output.into(), at.output.into());
        self.zeros(Field::Reserved, format::from_byte(bytes, layer::RESERVED));
        self.shape(&[Field::InputHeight, Field::InputWidth, Field::InputChannels], &record.input_shape(), &at.input);
        let [_, _, channels] = record.output_shape();
        self.between(Field::OutputChannels, channels.cast_signed(), 1, isize::MAX);
        self.exactly(Field::InputZeroPoint, record.input_zero_point.into(), at.input_zero_point.into());
        let [input_height, input_width, _] = record.input_shape();
        let [output_height, output_width, _] = record.output_shape();
        let [kernel_height, kernel_width] = record.kernel();
        let [stride_height, stride_width] = record.stride();
        let [above, left] = record.padding();
        let [vertical, horizontal] = &WINDOW_FIELDS;
        self.window(record.kind, vertical, [input_height, output_height, kernel_height, stride_height, above]);
        self.window(record.kind, horizontal, [input_width, output_width, kernel_width, stride_width, left]);
        if at.latents {
            self.exactly(Field::Kind, record.kind.into(), kind::LINEAR.into());
        }
        if matches!(record.kind, kind::UPSAMPLE_NEAREST | kind::MAX_POOL) {
            self.weightless(&record);
        } else {
            self.weighted(&record);
            self.arrays(at, &record);
        }
        self.verdict()?;
        Ok(record)
    }

    /// Checks input and output size, kernel, stride and padding along one axis.
    #[inline(never)]
    fn window(&mut self, kind: u8, names: &WindowNames, sizes: [usize; 5]) {
        let [input, output, kernel, stride, padding] = sizes.map(usize::cast_signed);
        let largest = format::MAX_KERNEL.cast_signed();
        let (largest_kernel, largest_stride) = match kind {
            kind::LINEAR => (1, 1),
            kind::UPSAMPLE_NEAREST => (1, largest),
            _ => (largest, largest),
        };
        self.between(names.kernel, kernel, 1, largest_kernel);
        self.between(names.stride, stride, 1, largest_stride);
        // Sizes have 16 bits and all else 8: nothing wraps.
        self.between(names.padding, padding, 0, kernel.wrapping_sub(1));
        let most = match kind {
            kind::LINEAR => format::MAX_SIDE.cast_signed(),
            kind::UPSAMPLE_NEAREST => input.wrapping_mul(stride),
            kind::CONV_TRANSPOSE2D => {
                let reach = input.wrapping_sub(1).wrapping_mul(stride).wrapping_add(kernel);
                reach.wrapping_add(stride).wrapping_sub(padding)
            }
            // The last window starts at (output - 1) * stride - padding, inside the input.
            _ => {
                let room = input.wrapping_add(padding);
                let starts = room.wrapping_sub(1).checked_div(stride).unwrap_or(0).wrapping_add(1);
                room.min(starts)
            }
        };
        let least = if kind == kind::UPSAMPLE_NEAREST { most } else { 1 };
        self.between(names.output, output, 1, format::MAX_SIDE.cast_signed());
        self.between(names.output, output, least, most);
    }

    /// Checks the fields of upsampling and pooling, which compute nothing new.
    fn weightless(&mut self, record: &Record) {
        let [_, _, in_channels] = record.input_shape();
        let [_, _, out_channels] = record.output_shape();
        self.exactly(Field::Output, record.output.into(), output::INT8.into());
        self.exactly(Field::OutputChannels, out_channels.cast_signed(), in_channels.cast_signed());
        self.exactly(Field::Shift, record.shift.into(), 0);
        self.exactly(Field::Flags, record.flags.into(), 0);
        self.exactly(Field::OutputZeroPoint, record.output_zero_point.into(), record.input_zero_point.into());
        self.whole_range(record);
        self.no_table(record);
        self.at_most(Field::WeightOffset, record.weight, 0);
        self.at_most(Field::BiasOffset, record.bias, 0);
        self.at_most(Field::MultiplierOffset, record.multiplier, 0);
        self.at_most(Field::NegativeMultiplierOffset, record.negative_multiplier, 0);
    }

    /// Checks the arithmetic fields of layers with weights.
    fn weighted(&mut self, record: &Record) {
        self.between(Field::Shift, record.shift.into(), 1, format::MAX_SHIFT.into());
        self.between(Field::Flags, record.flags.into(), 0, FLAG_NEGATIVE_MULTIPLIERS.into());
        if record.flags & FLAG_NEGATIVE_MULTIPLIERS == 0 {
            self.at_most(Field::NegativeMultiplierOffset, record.negative_multiplier, 0);
        }
        if record.output == output::INT8 {
            let (minimum, maximum) = (record.minimum.into(), record.maximum.into());
            self.between(Field::ActivationMaximum, maximum, minimum, i8::MAX.into());
        } else {
            self.exactly(Field::OutputZeroPoint, record.output_zero_point.into(), 0);
            self.whole_range(record);
        }
        match (record.output, record.table_length()) {
            (output::INT8, 1..) => {
                self.exactly(
                    Field::TableLength,
                    record.table_length().cast_signed(),
                    format::ACTIVATIONS.cast_signed(),
                );
            }
            (output::PIXELS, 1..) if record.table_length() & 1 == 0 => self.no_table_zero_point(record),
            (output::PIXELS, found) => {
                let lengths = Expected::EvenBetween(2, wide(format::MAX_TABLE).cast_signed());
                self.refuse_value(Field::TableLength, wide(found).cast_signed(), lengths);
            }
            _ => self.no_table(record),
        }
    }

    /// Checks that activations are not clamped.
    fn whole_range(&mut self, record: &Record) {
        self.exactly(Field::ActivationMinimum, record.minimum.into(), i8::MIN.into());
        self.exactly(Field::ActivationMaximum, record.maximum.into(), i8::MAX.into());
    }

    /// Checks that there is no table.
    fn no_table(&mut self, record: &Record) {
        self.exactly(Field::TableLength, record.table_length().cast_signed(), 0);
        self.at_most(Field::TableOffset, record.table, 0);
        self.no_table_zero_point(record);
    }

    /// Checks that there is no table of activations.
    fn no_table_zero_point(&mut self, record: &Record) {
        self.exactly(Field::TableZeroPoint, record.table_zero_point.into(), 0);
    }

    /// Checks where a layer's arrays lie, that no accumulator can overflow, and the multipliers' sign.
    fn arrays(&mut self, at: &Position<'_>, record: &Record) {
        let sizes = Sizes::of(record);
        self.array(at, Array::Weight, record.weight, sizes.weights);
        self.words(at, Array::Bias, Field::BiasOffset, record.bias, sizes.biases);
        self.words(at, Array::Multiplier, Field::MultiplierOffset, record.multiplier, sizes.multipliers);
        if record.flags & FLAG_NEGATIVE_MULTIPLIERS != 0 {
            let (name, field) = (Array::NegativeMultiplier, Field::NegativeMultiplierOffset);
            self.words(at, name, field, record.negative_multiplier, sizes.multipliers);
        }
        if record.table_length() != 0 {
            self.array(at, Array::Table, record.table, record.table_length());
        }

        let product = if at.latents { LATENT_PRODUCT_MAX } else { ACTIVATION_PRODUCT_MAX };
        let most = ACCUMULATOR_MAX.checked_div(product).unwrap_or(0);
        let products = u32::try_from(sizes.products).unwrap_or(u32::MAX);
        self.at_most(Field::ProductsOfAnOutput, products, most);
        let limit = ACCUMULATOR_MAX.saturating_sub(products.saturating_mul(product));
        for (index, bias) in words_of(array(at.data, record.bias, sizes.biases)).enumerate() {
            let found = bias.unsigned_abs();
            if found > limit {
                let (place, found, limit) = (self.place, found.into(), limit.into());
                self.refuse(LoadError::Bias { place, index, found, limit });
            }
        }
        for multiplier in words_of(array(at.data, record.multiplier, sizes.multipliers)) {
            if multiplier < 0 {
                self.refuse_range(Field::Multiplier, multiplier.into(), 0, i32::MAX.into());
            }
        }
    }

    /// Checks where an array of 32-bit integers lies.
    fn words(&mut self, at: &Position<'_>, array: Array, field: Field, offset: u32, bytes: usize) {
        if offset & 3 != 0 {
            let aligned = Expected::MultipleOf(wide(WORD_BYTES).cast_signed());
            self.refuse_value(field, offset.into(), aligned);
        }
        self.array(at, array, offset, bytes);
    }

    /// Checks where an array lies.
    fn array(&mut self, at: &Position<'_>, array: Array, offset: u32, bytes: usize) {
        let start = format::size_of_u32(offset);
        let (first, last) = (at.plan_bytes, at.data.len());
        if start < first || start > last || bytes > last.saturating_sub(start) {
            let [start, bytes, first, last] = [start, bytes, first, last].map(wide);
            let (place, end) = (self.place, start.saturating_add(bytes));
            self.refuse(LoadError::Array { place, array, start, end, first, last });
        }
    }

    /// Checks one factor record; `earlier` are those before it.
    pub(crate) fn factor(&mut self, bytes: &RecordBytes, latents: usize, earlier: &[RecordBytes]) {
        let latent = format::size16_at(bytes, factor::LATENT);
        self.between(Field::Latent, latent.cast_signed(), 0, latents.cast_signed().saturating_sub(1));
        let length = format::size8_at(bytes, factor::NAME_LENGTH);
        self.between(Field::NameLength, length.cast_signed(), 1, MAX_NAME_BYTES.cast_signed());
        self.zeros(Field::Reserved, bytes.get(factor::RESERVED..factor::NAME).unwrap_or(&[]));
        self.zeros(Field::Reserved, format::from_byte(bytes, factor::PADDING));
        let (name, rest) = factor_name(bytes).split_at(length.min(factor_name(bytes).len()));
        self.zeros(Field::NamePadding, rest);
        if str::from_utf8(name).is_err() || has_controls(name) {
            self.refuse(LoadError::Name { place: self.place });
        }

        let number = |at| format::i16_at(bytes, at).into();
        let (low, high, center) = (number(factor::LOW), number(factor::HIGH), number(factor::CENTER));
        self.between(Field::Low, low, i16::MIN.into(), center);
        self.between(Field::High, high, center, i16::MAX.into());
        self.at_most(Field::Agreement, format::u32_at(bytes, factor::AGREEMENT), format::FACTOR_ONE);
        let importance = format::u32_at(bytes, factor::IMPORTANCE);
        for (index, other) in earlier.iter().enumerate() {
            let shared = if format::size16_at(other, factor::LATENT) == latent {
                Field::Latent
            } else if factor_name(other) == factor_name(bytes) {
                Field::Name
            } else {
                self.at_most(Field::Importance, importance, format::u32_at(other, factor::IMPORTANCE));
                continue;
            };
            let (place, first) = (self.place, Place::Factor(index));
            self.refuse(LoadError::Duplicate { place, field: shared, first });
        }
    }
}

/// What a layer is checked against.
pub(crate) struct Position<'a> {
    /// The data section, and where arrays may start in it.
    pub(crate) data: &'a [u8],
    pub(crate) plan_bytes: usize,
    /// What reaches it: shape `(H, W, C)` and zero point.
    pub(crate) input: [usize; 3],
    pub(crate) input_zero_point: i8,
    /// The input is int16.
    pub(crate) latents: bool,
    /// The `output` that it must have.
    pub(crate) output: u8,
}

/// Names of the fields along one axis.
struct WindowNames {
    kernel: Field,
    stride: Field,
    padding: Field,
    output: Field,
}

/// Vertical, horizontal.
const WINDOW_FIELDS: [WindowNames; 2] = [
    WindowNames {
        kernel: Field::KernelHeight,
        stride: Field::StrideHeight,
        padding: Field::PaddingAbove,
        output: Field::OutputHeight,
    },
    WindowNames {
        kernel: Field::KernelWidth,
        stride: Field::StrideWidth,
        padding: Field::PaddingLeft,
        output: Field::OutputWidth,
    },
];

/// The int32 of an array.
fn words_of(array: &[u8]) -> impl Iterator<Item = i32> {
    array.as_chunks().0.iter().map(|word| i32::from_le_bytes(*word))
}

/// The padded name of a factor record.
fn factor_name(record: &RecordBytes) -> &[u8] {
    record.get(factor::NAME..factor::LOW).unwrap_or(&[])
}

/// Whether UTF-8 holds control characters: U+0000 to U+001F and U+007F, or two bytes for U+0080 to U+009F.
fn has_controls(utf8: &[u8]) -> bool {
    let is_two_bytes = |pair: &[u8]| matches!(pair, [0xc2, ..0xa0]);
    utf8.iter().any(u8::is_ascii_control) || utf8.windows(2).any(is_two_bytes)
}

#[cfg(test)]
mod tests {
    use std::string::String;

    #[test]
    fn controls_are_those_of_unicode() {
        for character in '\0'..=char::MAX {
            let text = String::from_iter(['\u{a0}', character, '\u{bf}']);
            assert_eq!(super::has_controls(text.as_bytes()), character.is_control(), "{character:?}");
        }
    }
}
