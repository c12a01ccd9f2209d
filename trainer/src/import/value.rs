//! The numbers of a graph.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Component, Path},
};

use super::array::{Array, Fitting, elements};
use crate::export::onnx_proto::TensorProto;

/// Numbers that are known; truth values count as whole numbers.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// f32, or what was made it.
    Float(Array<f32>),
    /// i64, or what was made it.
    Int(Array<i64>),
}

impl Value {
    /// Sizes.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::Float(array) => array.shape(),
            Self::Int(array) => array.shape(),
        }
    }

    /// As real numbers.
    pub fn floats(&self) -> Array<f32> {
        match self {
            Self::Float(array) => array.clone(),
            Self::Int(array) => array.map(|&v| v as f32),
        }
    }

    /// As whole numbers.
    ///
    /// # Errors
    /// They are real numbers.
    pub fn ints(&self) -> Fitting<&Array<i64>> {
        match self {
            Self::Int(array) => Ok(array),
            Self::Float(_) => Err("real numbers where whole ones are due".into()),
        }
    }

    /// Reads `tensor`, whose values may lie in another file in `folder`.
    ///
    /// # Errors
    /// It is damaged, or of a type that has no place in a network.
    pub fn of_tensor(tensor: &TensorProto, folder: &Path) -> Fitting<Self> {
        let size = |&n: &i64| usize::try_from(n).map_err(|_| format!("a size of {n}"));
        let shape = tensor.dims.iter().map(size).collect::<Fitting<Vec<_>>>()?;
        let raw = match (&tensor.raw_data, tensor.data_location) {
            (_, Some(1)) => {
                let width = match tensor.data_type.unwrap_or_default() {
                    1 | 6 => 4,
                    10 | 16 => 2,
                    2 | 3 | 9 => 1,
                    _ => 8,
                };
                Some(external(tensor, width * elements(&shape)?, folder)?)
            }
            (raw, _) => raw.clone(),
        };
        let code = tensor.data_type.unwrap_or_default();
        let wide = || tensor.int32_data.iter().map(|&v| i64::from(v)).collect();
        let narrow = |v: &i32| u16::try_from(*v).unwrap_or_default();
        // TensorProto.DataType.
        match code {
            1 => Self::read(shape, raw, || tensor.float_data.clone(), f32::from_le_bytes).map(Self::Float),
            10 => Self::read(
                shape,
                raw,
                || tensor.int32_data.iter().map(|v| half(narrow(v))).collect(),
                |b| half(u16::from_le_bytes(b)),
            )
            .map(Self::Float),
            16 => Self::read(
                shape,
                raw,
                || tensor.int32_data.iter().map(|v| brain(narrow(v))).collect(),
                |b| brain(u16::from_le_bytes(b)),
            )
            .map(Self::Float),
            11 => Self::read(
                shape,
                raw,
                || tensor.double_data.iter().map(|&v| v as f32).collect(),
                |b| f64::from_le_bytes(b) as f32,
            )
            .map(Self::Float),
            7 => Self::read(shape, raw, || tensor.int64_data.clone(), i64::from_le_bytes).map(Self::Int),
            6 => Self::read(shape, raw, wide, |b| i32::from_le_bytes(b).into()).map(Self::Int),
            3 => Self::read(shape, raw, wide, |b| i8::from_le_bytes(b).into()).map(Self::Int),
            // u8 and truth values.
            2 | 9 => Self::read(shape, raw, wide, |b| u8::from_le_bytes(b).into()).map(Self::Int),
            _ => Err(format!("data type {code}, which is neither f32, f64, f16, bf16 nor a usual integer")),
        }
    }

    /// The values in `bytes`, whose type has the code `code` of `TensorProto.DataType`.
    ///
    /// # Errors
    /// As [`Self::of_tensor`].
    pub fn of_bytes(code: i32, shape: Vec<usize>, bytes: &[u8]) -> Fitting<Self> {
        let size = |&n: &usize| i64::try_from(n).map_err(|_| format!("a size of {n}"));
        let dims = shape.iter().map(size).collect::<Fitting<_>>()?;
        let (data_type, raw_data) = (Some(code), Some(bytes.to_vec()));
        Self::of_tensor(&TensorProto { dims, data_type, raw_data, ..TensorProto::default() }, Path::new(""))
    }

    fn read<T, const N: usize>(
        shape: Vec<usize>,
        raw: Option<Vec<u8>>,
        typed: impl FnOnce() -> Vec<T>,
        parse: impl Fn([u8; N]) -> T,
    ) -> Fitting<Array<T>> {
        let Some(raw) = raw else { return Array::new(shape, typed()) };
        let (words, rest) = raw.as_chunks::<N>();
        if !rest.is_empty() {
            return Err(format!("{} bytes of {N} each", raw.len()));
        }
        Array::new(shape, words.iter().map(|&word| parse(word)).collect())
    }
}

/// The `size` bytes of `tensor` in another file in `folder`.
fn external(tensor: &TensorProto, size: usize, folder: &Path) -> Fitting<Vec<u8>> {
    let entry = |key: &str| tensor.external_data.iter().find(|e| e.key == key).map(|e| e.value.as_str());
    let number =
        |key: &str| entry(key).map(|text| text.parse::<u64>().map_err(|_| format!("{key} {text}"))).transpose();
    let location = entry("location").ok_or("values in another file without its name")?;
    // A model must not read what does not belong to it.
    if !Path::new(location).components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(format!("values in {location:?}, outside the model's folder"));
    }
    let failed = |e: std::io::Error| format!("{}: {e}", folder.join(location).display());
    let mut file = File::open(folder.join(location)).map_err(failed)?;
    file.seek(SeekFrom::Start(number("offset")?.unwrap_or_default())).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(number("length")?.unwrap_or(size as u64).min(size as u64)).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// IEEE 754's 16 bits.
fn half(bits: u16) -> f32 {
    let (sign, exponent, fraction) = (bits >> 15, (bits >> 10) & 31, bits & 1023);
    let magnitude = match exponent {
        0 => f32::from(fraction) / 16_777_216.0,
        31 if fraction == 0 => f32::INFINITY,
        31 => f32::NAN,
        _ => f32::from(1024 + fraction) * (f32::from(exponent) - 25.0).exp2(),
    };
    if sign == 0 { magnitude } else { -magnitude }
}

/// The upper 16 bits of an f32.
fn brain(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::onnx_proto::StringStringEntryProto;

    fn tensor(code: i32, dims: &[i64]) -> TensorProto {
        TensorProto { data_type: Some(code), dims: dims.to_vec(), ..TensorProto::default() }
    }

    #[test]
    fn both_ways_of_storing_numbers_are_read() {
        let floats = |t: &TensorProto| Value::of_tensor(t, Path::new("")).unwrap().floats().data().to_vec();
        let raw = |code, bytes: &[u8]| TensorProto { raw_data: Some(bytes.to_vec()), ..tensor(code, &[2]) };
        assert_eq!(floats(&TensorProto { float_data: vec![1.0, 2.5], ..tensor(1, &[2]) }), [1.0, 2.5]);
        assert_eq!(floats(&raw(10, &[0x00, 0x3e, 0x01, 0x80])), [1.5, -1.0 / 16_777_216.0]);
        assert_eq!(floats(&raw(16, &[0x80, 0x3f, 0x20, 0xc0])), [1.0, -2.5]);
        assert_eq!(floats(&raw(9, &[1, 0])), [1.0, 0.0]);
        assert_eq!(floats(&TensorProto { int32_data: vec![0x3c00, 0xc000], ..tensor(10, &[2]) }), [1.0, -2.0]);
    }

    #[test]
    fn damaged_tensors_are_refused() {
        let refused = |t: &TensorProto, folder: &Path| Value::of_tensor(t, folder).unwrap_err();
        let here = Path::new("");
        assert!(refused(&TensorProto { raw_data: Some(vec![0; 7]), ..tensor(1, &[2]) }, here).contains("7 bytes"));
        assert!(refused(&tensor(1, &[2]), here).contains("0 values for shape [2]"));
        assert!(refused(&tensor(1, &[-1]), here).contains("size of -1"));
        assert!(refused(&tensor(1, &[1 << 40, 1 << 40]), here).contains("more than"));
        assert!(refused(&tensor(8, &[1]), here).contains("data type 8"));
        let entry = |key: &str, value: &str| StringStringEntryProto { key: key.into(), value: value.into() };
        let outside = |location: &str| TensorProto {
            external_data: vec![entry("location", location)],
            data_location: Some(1),
            ..tensor(1, &[1])
        };
        assert!(refused(&outside("../secret"), here).contains("outside the model's folder"));
        assert!(refused(&outside("/etc/passwd"), here).contains("outside the model's folder"));
        assert!(refused(&outside("none.data"), here).contains("none.data"));
    }
}
