//! The sliding window of convolutions and pooling: which pixels of an image each cell of its grid sees.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, SeqAccess, Visitor},
};

/// A window of `kernel` pixels that moves over an image in steps of `stride`; one position is one cell of a grid. Pairs are
/// (vertical, horizontal).
///
/// A convolution reads the image and writes the grid; a transposed convolution reads the grid and writes the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Kernel height and width.
    pub kernel: [usize; 2],
    /// Step between neighboring cells, in pixels.
    pub stride: [usize; 2],
    /// How far windows reach beyond the image's borders.
    pub padding: Padding,
}

impl Window {
    /// The same along both axes and on all sides.
    pub fn square(kernel: usize, stride: usize, padding: usize) -> Self {
        Self { kernel: [kernel; 2], stride: [stride; 2], padding: Padding::all(padding) }
    }

    /// Rows and columns of cells over an image of so many rows and columns.
    ///
    /// # Errors
    /// No window fits.
    pub fn cells(&self, [height, width]: [usize; 2]) -> Result<[usize; 2], String> {
        let side = |axis: usize, pixels: usize| {
            let room =
                (pixels + self.padding.before()[axis] + self.padding.after()[axis]).checked_sub(self.kernel[axis])?;
            (self.kernel[axis] > 0).then_some(room.checked_div(self.stride[axis])? + 1)
        };
        match (side(0, height), side(1, width)) {
            (Some(rows), Some(columns)) => Ok([rows, columns]),
            _ => Err(format!("{self} does not fit {height} x {width}")),
        }
    }

    /// Rows and columns of the image that a transposed convolution makes of so many rows and columns of cells, with `more` below
    /// and to the right.
    ///
    /// # Errors
    /// Nothing is left.
    pub fn pixels(&self, [rows, columns]: [usize; 2], more: [usize; 2]) -> Result<[usize; 2], String> {
        let side = |axis: usize, cells: usize| {
            let (kernel, stride) = (self.kernel[axis], self.stride[axis]);
            let seen = cells.checked_sub(1)? * stride + kernel + more[axis];
            let cut = self.padding.before()[axis] + self.padding.after()[axis];
            seen.checked_sub(cut).filter(|&pixels| pixels > 0 && kernel > 0 && stride > 0)
        };
        match (side(0, rows), side(1, columns)) {
            (Some(height), Some(width)) => Ok([height, width]),
            _ => Err(format!("{self} leaves nothing of {rows} x {columns}")),
        }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [kernel, stride] = [self.kernel, self.stride].map(Axes);
        write!(f, "kernel {kernel}, stride {stride}, padding {}", self.padding)
    }
}

/// A number for both axes, `4`, or one for each, `3x5`.
#[derive(Debug, Clone, Copy)]
pub struct Axes(pub [usize; 2]);

impl fmt::Display for Axes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [a, b] if a == b => write!(f, "{a}"),
            [a, b] => write!(f, "{a}x{b}"),
        }
    }
}

/// Rows and columns around an image.
///
/// In files one number is for all sides, two are (vertical, horizontal), four (top, left, bottom, right) as ONNX has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Padding {
    /// Rows above.
    pub top: usize,
    /// Columns to the left.
    pub left: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns to the right.
    pub right: usize,
}

impl Padding {
    /// As much on each side.
    pub fn all(size: usize) -> Self {
        Self { top: size, left: size, bottom: size, right: size }
    }

    /// Above and to the left.
    pub fn before(&self) -> [usize; 2] {
        [self.top, self.left]
    }

    /// Below and to the right.
    pub fn after(&self) -> [usize; 2] {
        [self.bottom, self.right]
    }

    /// Top, left, bottom, right.
    pub fn sides(&self) -> [usize; 4] {
        [self.top, self.left, self.bottom, self.right]
    }

    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        self.sides() == [0; 4]
    }

    /// The fewest numbers that say it.
    fn numbers(&self) -> Vec<usize> {
        match self.sides() {
            [top, left, bottom, right] if top != bottom || left != right => vec![top, left, bottom, right],
            [vertical, horizontal, ..] if vertical != horizontal => vec![vertical, horizontal],
            [size, ..] => vec![size],
        }
    }
}

impl fmt::Display for Padding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.numbers()[..] {
            [size] => write!(f, "{size}"),
            ref numbers => write!(f, "{numbers:?}"),
        }
    }
}

impl Serialize for Padding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.numbers()[..] {
            [size] => size.serialize(serializer),
            ref numbers => numbers.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Padding {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a whole number, [vertical, horizontal] or [top, left, bottom, right]";
        match deserializer.deserialize_any(Numbers { expected })?[..] {
            [size] => Ok(Self::all(size)),
            [vertical, horizontal] => Ok(Self { top: vertical, left: horizontal, bottom: vertical, right: horizontal }),
            [top, left, bottom, right] => Ok(Self { top, left, bottom, right }),
            ref other => Err(D::Error::invalid_length(other.len(), &expected)),
        }
    }
}

/// Pairs in files: one number is for both axes, two are (vertical, horizontal).
pub mod axes {
    use super::*;

    /// Writes one number where both are the same.
    ///
    /// # Errors
    /// The format's own.
    pub fn serialize<S: Serializer>(pair: &[usize; 2], serializer: S) -> Result<S::Ok, S::Error> {
        if pair[0] == pair[1] { pair[0].serialize(serializer) } else { pair.serialize(serializer) }
    }

    /// Reads a number or two.
    ///
    /// # Errors
    /// It is something else.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[usize; 2], D::Error> {
        let expected = "a whole number or [vertical, horizontal]";
        match deserializer.deserialize_any(Numbers { expected })?[..] {
            [size] => Ok([size; 2]),
            [vertical, horizontal] => Ok([vertical, horizontal]),
            ref other => Err(D::Error::invalid_length(other.len(), &expected)),
        }
    }

    /// Whether a pair need not be written.
    pub fn are_zero(pair: &[usize; 2]) -> bool {
        *pair == [0; 2]
    }
}

/// A whole number, or a list of them.
struct Numbers {
    expected: &'static str,
}

impl<'de> Visitor<'de> for Numbers {
    type Value = Vec<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Vec<usize>, E> {
        usize::deserialize(serde::de::value::U64Deserializer::new(value)).map(|size| vec![size])
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Vec<usize>, E> {
        usize::deserialize(serde::de::value::I64Deserializer::new(value)).map(|size| vec![size])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<usize>, A::Error> {
        let mut numbers = Vec::new();
        while let Some(number) = items.next_element()? {
            numbers.push(number);
        }
        Ok(numbers)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sizes_are_pytorchs() {
        let window =
            Window { kernel: [3, 5], stride: [2, 3], padding: Padding { top: 1, left: 0, bottom: 2, right: 4 } };
        // ⌊(H + top + bottom - kernel) / stride⌋ + 1.
        assert_eq!(window.cells([8, 11]), Ok([5, 4]));
        // (H - 1)·stride + kernel - top - bottom + output padding.
        assert_eq!(window.pixels([5, 4], [1, 0]), Ok([9, 10]));
        assert!(Window::square(4, 0, 0).cells([9, 9]).is_err() && Window::square(0, 1, 0).cells([9, 9]).is_err());
        assert!(Window::square(4, 0, 0).pixels([9, 9], [0; 2]).is_err() && window.pixels([0, 4], [0; 2]).is_err());
        assert_eq!(
            window.cells([8, 0]),
            Err("kernel 3x5, stride 2x3, padding [1, 0, 2, 4] does not fit 8 x 0".to_owned())
        );
    }

    #[test]
    fn padding_is_written_with_the_fewest_numbers() {
        let cases = [([1, 1, 1, 1], json!(1)), ([1, 2, 1, 2], json!([1, 2])), ([0, 1, 0, 2], json!([0, 1, 0, 2]))];
        for ([top, left, bottom, right], expected) in cases {
            let padding = Padding { top, left, bottom, right };
            assert_eq!(serde_json::to_value(padding).unwrap(), expected);
            assert_eq!(serde_json::from_value::<Padding>(expected).unwrap(), padding);
        }
        for wrong in [json!([1, 2, 3]), json!([]), json!(-1), json!("same"), json!([1, -2]), json!(1.5)] {
            assert!(serde_json::from_value::<Padding>(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
