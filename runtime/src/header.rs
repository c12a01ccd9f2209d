//! The safetensors header, which only `std` builds read.

use std::collections::BTreeMap;
use std::format;
use std::string::{String, ToString};

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use crate::error::LoadError;
use crate::format::{FLAG_NEGATIVE_MULTIPLIERS, kind, output, wide};
use crate::layer::{Layer, Sizes};
use crate::model::Model;

/// Parses the header of a safetensors file.
pub(crate) fn read(file: &[u8]) -> Result<Metadata, LoadError> {
    let json = |error: safetensors::SafeTensorError| LoadError::Json { message: error.to_string() };
    // Also checks that the tensors fill the data section without holes.
    Ok(SafeTensors::read_metadata(file).map_err(json)?.1)
}

/// The strings for people in a model file's safetensors header, sorted by key.
///
/// # Errors
///
/// If the header is not that of a safetensors file.
pub fn metadata(file: &[u8]) -> Result<BTreeMap<String, String>, LoadError> {
    Ok(read(file)?.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect())
}

/// Checks that header and plan describe the same arrays.
pub(crate) fn check(file: &[u8], model: &Model<'_>) -> Result<(), LoadError> {
    let header = read(file)?;
    tensor(&header, "plan".to_string(), Dtype::U64, 0, wide(model.plan_bytes()))?;
    for (index, layer) in model.encoder_layers().enumerate() {
        arrays(&header, &format!("encoder.{index}"), &layer)?;
    }
    for (index, layer) in model.decoder_layers().enumerate() {
        arrays(&header, &format!("decoder.{index}"), &layer)?;
    }
    Ok(())
}

/// Checks the arrays of one layer.
fn arrays(header: &Metadata, name: &str, layer: &Layer<'_>) -> Result<(), LoadError> {
    let record = &layer.record;
    if matches!(record.kind, kind::UPSAMPLE_NEAREST | kind::MAX_POOL) {
        return Ok(());
    }
    let sizes = Sizes::of(record);
    let array =
        |array, dtype, offset: u32, bytes| tensor(header, format!("{name}.{array}"), dtype, offset.into(), wide(bytes));
    array("weight", Dtype::I8, record.weight, sizes.weights)?;
    array("bias", Dtype::I32, record.bias, sizes.biases)?;
    array("multiplier", Dtype::I32, record.multiplier, sizes.multipliers)?;
    if record.flags & FLAG_NEGATIVE_MULTIPLIERS != 0 {
        array("negative_multiplier", Dtype::I32, record.negative_multiplier, sizes.multipliers)?;
    }
    if record.table_length() != 0 {
        let dtype = if record.output == output::PIXELS { Dtype::U8 } else { Dtype::I8 };
        array("table", dtype, record.table, record.table_length())?;
    }
    Ok(())
}

/// Checks that the header places a tensor where the plan does.
fn tensor(header: &Metadata, name: String, dtype: Dtype, offset: u64, bytes: u64) -> Result<(), LoadError> {
    let Some(TensorInfo { dtype: found, data_offsets: (start, end), .. }) = header.info(&name) else {
        return Err(LoadError::MissingTensor { name, expected: offset });
    };
    let length = end.saturating_sub(*start);
    let differences = [
        ("dtype", found.to_string(), dtype.to_string()),
        ("offset", start.to_string(), offset.to_string()),
        ("length", length.to_string(), bytes.to_string()),
    ];
    for (field, found, expected) in differences {
        if found != expected {
            return Err(LoadError::Tensor { name, field, found, expected });
        }
    }
    Ok(())
}
