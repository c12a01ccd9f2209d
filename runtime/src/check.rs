//! The rules of `docs/format.md` for one record. What passes cannot overflow or reach outside its arrays.

use core::str;

use crate::error::{Expected, LoadError, Place};
use crate::format::{self, FLAG_NEGATIVE_MULTIPLIERS, MAX_NAME_BYTES, factor, kind, layer, output, wide};
use crate::layer::{Layer, Sizes};
use crate::plan::{Record, WORD_BYTES};

/// Largest magnitude of an accumulator.
const ACCUMULATOR_MAX: u64 = 0x7fff_ffff;
/// Largest magnitude of an int8 weight.
const WEIGHT_MAX: u64 = 128;
/// Largest magnitude of an int8 activation after subtracting a zero point.
const ACTIVATION_MAX: u64 = 255;
/// Largest magnitude of an int16 latent.
const LATENT_MAX: u64 = 32768;

/// Refuses `found` unless it is allowed.
pub(crate) fn value(place: Place, field: &'static str, found: i64, expected: Expected) -> Result<(), LoadError> {
    let allowed = match expected {
        Expected::Exactly(value) => found == value,
        Expected::Between(low, high) => (low..=high).contains(&found),
        Expected::EvenBetween(low, high) => (low..=high).contains(&found) && found & 1 == 0,
        Expected::MultipleOf(value) => found.checked_rem(value) == Some(0),
    };
    if allowed { Ok(()) } else { Err(LoadError::Value { place, field, found, expected }) }
}

/// A size as the signed number that errors carry.
pub(crate) fn signed(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// Refuses reserved bytes that are not 0.
pub(crate) fn zeros(place: Place, field: &'static str, bytes: &[u8]) -> Result<(), LoadError> {
    bytes.iter().try_for_each(|byte| value(place, field, i64::from(*byte), Expected::Exactly(0)))
}

/// What a layer is checked against.
pub(crate) struct Position {
    pub(crate) place: Place,
    /// What reaches it: shape `(H, W, C)` and zero point.
    pub(crate) input: [usize; 3],
    pub(crate) input_zero_point: i8,
    /// The input is int16.
    pub(crate) latents: bool,
    /// The `output` that it must have.
    pub(crate) output: u8,
}

/// Checks one layer record and its arrays; `plan_bytes` is where arrays may start in `data`.
pub(crate) fn layer(bytes: &[u8], at: &Position, data: &[u8], plan_bytes: usize) -> Result<Record, LoadError> {
    let record = Record::read(bytes);
    let place = at.place;
    let exactly = |field, found, expected| value(place, field, found, Expected::Exactly(expected));
    value(place, "kind", record.kind.into(), Expected::Between(1, 5))?;
    exactly("output", record.output.into(), at.output.into())?;
    zeros(place, "reserved", format::from_byte(bytes, layer::RESERVED))?;
    let names = ["input height", "input width", "input channels"];
    for ((name, found), expected) in names.into_iter().zip(record.input_shape).zip(at.input) {
        exactly(name, signed(found), signed(expected))?;
    }
    let [height, width, channels] = record.output_shape;
    value(place, "output height", signed(height), Expected::Between(1, signed(format::MAX_SIDE)))?;
    value(place, "output width", signed(width), Expected::Between(1, signed(format::MAX_SIDE)))?;
    value(place, "output channels", signed(channels), Expected::Between(1, u16::MAX.into()))?;
    exactly("input zero point", record.input_zero_point.into(), at.input_zero_point.into())?;
    for axis in 0..2 {
        window(place, &record, axis)?;
    }
    if at.latents {
        exactly("kind", record.kind.into(), kind::LINEAR.into())?;
    }
    if matches!(record.kind, kind::UPSAMPLE_NEAREST | kind::MAX_POOL) {
        weightless(place, &record)?;
    } else {
        weighted(place, &record)?;
        arrays(at, &record, data, plan_bytes)?;
    }
    Ok(record)
}

/// Checks kernel, stride, padding and output size along one axis.
fn window(place: Place, record: &Record, axis: usize) -> Result<(), LoadError> {
    let vertical = axis == 0;
    let along = |pair: &[usize]| signed(pair.get(axis).copied().unwrap_or(0));
    let name = |of_height, of_width| if vertical { of_height } else { of_width };
    let (input, output) = (along(&record.input_shape), along(&record.output_shape));
    let (kernel, stride, padding) = (along(&record.kernel), along(&record.stride), along(&record.padding));
    let (kernel_name, stride_name) = (name("kernel height", "kernel width"), name("stride height", "stride width"));
    let (padding_name, output_name) = (name("padding above", "padding left"), name("output height", "output width"));

    let largest = signed(format::MAX_KERNEL);
    value(place, kernel_name, kernel, Expected::Between(1, largest))?;
    value(place, stride_name, stride, Expected::Between(1, largest))?;
    value(place, padding_name, padding, Expected::Between(0, kernel.saturating_sub(1)))?;
    // Every number is at most 65535 from here on: nothing saturates.
    let allowed = match record.kind {
        kind::LINEAR => {
            value(place, kernel_name, kernel, Expected::Exactly(1))?;
            value(place, stride_name, stride, Expected::Exactly(1))?;
            return Ok(());
        }
        kind::UPSAMPLE_NEAREST => {
            value(place, kernel_name, kernel, Expected::Exactly(1))?;
            Expected::Exactly(input.saturating_mul(stride))
        }
        kind::CONV_TRANSPOSE2D => {
            let reach = input.saturating_sub(1).saturating_mul(stride).saturating_add(kernel).saturating_add(stride);
            Expected::Between(1, reach.saturating_sub(padding))
        }
        // The last window starts at (output - 1) * stride - padding, inside the input.
        _ => {
            let room = input.saturating_add(padding);
            let starts = room.saturating_sub(1).checked_div(stride).unwrap_or(0).saturating_add(1);
            Expected::Between(1, room.min(starts))
        }
    };
    value(place, output_name, output, allowed)
}

/// Checks the fields of upsampling and pooling, which compute nothing new.
fn weightless(place: Place, record: &Record) -> Result<(), LoadError> {
    let exactly = |field, found, expected| value(place, field, found, Expected::Exactly(expected));
    let [_, _, in_channels] = record.input_shape;
    let [_, _, out_channels] = record.output_shape;
    exactly("output", record.output.into(), output::INT8.into())?;
    exactly("output channels", signed(out_channels), signed(in_channels))?;
    exactly("shift", record.shift.into(), 0)?;
    exactly("flags", record.flags.into(), 0)?;
    exactly("output zero point", record.output_zero_point.into(), record.input_zero_point.into())?;
    exactly("activation minimum", record.minimum.into(), i8::MIN.into())?;
    exactly("activation maximum", record.maximum.into(), i8::MAX.into())?;
    exactly("table length", signed(record.table_length), 0)?;
    exactly("weight offset", record.weight.into(), 0)?;
    exactly("bias offset", record.bias.into(), 0)?;
    exactly("multiplier offset", record.multiplier.into(), 0)?;
    exactly("negative multiplier offset", record.negative_multiplier.into(), 0)?;
    exactly("table offset", record.table.into(), 0)
}

/// Checks the arithmetic fields of layers with weights.
fn weighted(place: Place, record: &Record) -> Result<(), LoadError> {
    let exactly = |field, found, expected| value(place, field, found, Expected::Exactly(expected));
    value(place, "shift", record.shift.into(), Expected::Between(1, format::MAX_SHIFT.into()))?;
    value(place, "flags", record.flags.into(), Expected::Between(0, FLAG_NEGATIVE_MULTIPLIERS.into()))?;
    if record.flags & FLAG_NEGATIVE_MULTIPLIERS == 0 {
        exactly("negative multiplier offset", record.negative_multiplier.into(), 0)?;
    }
    if record.output == output::INT8 {
        let above = Expected::Between(record.minimum.into(), i8::MAX.into());
        value(place, "activation maximum", record.maximum.into(), above)?;
    } else {
        exactly("output zero point", record.output_zero_point.into(), 0)?;
        exactly("activation minimum", record.minimum.into(), i8::MIN.into())?;
        exactly("activation maximum", record.maximum.into(), i8::MAX.into())?;
    }
    if record.output == output::PIXELS {
        let lengths = Expected::EvenBetween(2, signed(format::MAX_TABLE));
        value(place, "table length", signed(record.table_length), lengths)
    } else {
        exactly("table length", signed(record.table_length), 0)?;
        exactly("table offset", record.table.into(), 0)
    }
}

/// Checks where a layer's arrays lie, that no accumulator can overflow, and the multipliers' sign.
fn arrays(at: &Position, record: &Record, data: &[u8], plan_bytes: usize) -> Result<(), LoadError> {
    let place = at.place;
    let sizes = Sizes::of(record);
    let array = |array, offset: u32, bytes: u64| {
        let (first, last) = (wide(plan_bytes), wide(data.len()));
        let (start, end) = (u64::from(offset), u64::from(offset).saturating_add(bytes));
        let inside = start >= first && end <= last;
        if inside { Ok(()) } else { Err(LoadError::Array { place, array, start, end, first, last }) }
    };
    let words = |name, field, offset: u32, bytes| {
        let aligned = Expected::MultipleOf(signed(WORD_BYTES));
        value(place, field, offset.into(), aligned)?;
        array(name, offset, bytes)
    };
    array("weight", record.weight, sizes.weights)?;
    words("bias", "bias offset", record.bias, sizes.biases)?;
    words("multiplier", "multiplier offset", record.multiplier, sizes.multipliers)?;
    if record.flags & FLAG_NEGATIVE_MULTIPLIERS != 0 {
        let name = "negative_multiplier";
        words(name, "negative multiplier offset", record.negative_multiplier, sizes.multipliers)?;
    }
    if record.output == output::PIXELS {
        array("table", record.table, wide(record.table_length))?;
    }

    let layer = Layer::new(data, *record);
    let input_max = if at.latents { LATENT_MAX } else { ACTIVATION_MAX };
    let products_max = WEIGHT_MAX.saturating_mul(input_max).saturating_mul(sizes.products);
    let limit = ACCUMULATOR_MAX.saturating_sub(products_max);
    if products_max > ACCUMULATOR_MAX {
        let most = ACCUMULATOR_MAX.checked_div(WEIGHT_MAX.saturating_mul(input_max)).unwrap_or(0);
        let (found, most) = (sizes.products.cast_signed(), most.cast_signed());
        return value(place, "products of an output", found, Expected::Between(1, most));
    }
    for (index, bias) in words_of(layer.biases).enumerate() {
        let found = u64::from(bias.unsigned_abs());
        if found > limit {
            return Err(LoadError::Bias { place, index, found, limit });
        }
    }
    let positive = Expected::Between(0, i32::MAX.into());
    words_of(layer.multipliers).try_for_each(|found| value(place, "multiplier", found.into(), positive))
}

/// The int32 of an array.
fn words_of(array: &[u8]) -> impl Iterator<Item = i32> {
    array.as_chunks().0.iter().map(|word| i32::from_le_bytes(*word))
}

/// Checks one factor record; `earlier` are those before it.
pub(crate) fn factor<'a>(
    bytes: &'a [u8],
    index: usize,
    latents: usize,
    earlier: impl Iterator<Item = &'a [u8]>,
) -> Result<(), LoadError> {
    let place = Place::Factor(index);
    let latent = format::size16_at(bytes, factor::LATENT);
    value(place, "latent", signed(latent), Expected::Between(0, signed(latents).saturating_sub(1)))?;
    let length = format::size8_at(bytes, factor::NAME_LENGTH);
    value(place, "name length", signed(length), Expected::Between(1, signed(MAX_NAME_BYTES)))?;
    zeros(place, "reserved", bytes.get(factor::RESERVED..factor::NAME).unwrap_or(&[]))?;
    zeros(place, "reserved", format::from_byte(bytes, factor::PADDING))?;
    let (name, rest) = factor_name(bytes).split_at(length.min(factor_name(bytes).len()));
    zeros(place, "name padding", rest)?;
    let printable = |name: &str| !name.chars().any(char::is_control);
    if !str::from_utf8(name).is_ok_and(printable) {
        return Err(LoadError::Name { place });
    }

    let [low, high, center] = [factor::LOW, factor::HIGH, factor::CENTER].map(|at| format::i16_at(bytes, at));
    value(place, "low", low.into(), Expected::Between(i16::MIN.into(), center.into()))?;
    value(place, "high", high.into(), Expected::Between(center.into(), i16::MAX.into()))?;
    let agreement = format::u32_at(bytes, factor::AGREEMENT);
    value(place, "agreement", agreement.into(), Expected::Between(0, format::FACTOR_ONE.into()))?;
    let importance = format::u32_at(bytes, factor::IMPORTANCE);
    for (index, other) in earlier.enumerate() {
        let first = Place::Factor(index);
        if format::size16_at(other, factor::LATENT) == latent {
            return Err(LoadError::Duplicate { place, field: "latent", first });
        }
        if factor_name(other) == factor_name(bytes) {
            return Err(LoadError::Duplicate { place, field: "name", first });
        }
        let most = Expected::Between(0, format::u32_at(other, factor::IMPORTANCE).into());
        value(place, "importance", importance.into(), most)?;
    }
    Ok(())
}

/// The padded name of a factor record.
fn factor_name(record: &[u8]) -> &[u8] {
    record.get(factor::NAME..factor::LOW).unwrap_or(&[])
}
