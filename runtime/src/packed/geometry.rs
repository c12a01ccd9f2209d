//! Which inputs each output sees: windows, and images with a border for those that reach out.

use std::vec;
use std::vec::Vec;

use crate::layer::{Layer, LayerKind, Shape};
use crate::plan::{WORD_BYTES, taps};

/// Outputs that share their weights; all but those of transposed convolutions have one phase.
pub(super) struct Phase<'a> {
    /// int8, `(outputs, rows, run)`.
    weights: &'a [u8],
    /// int32, `(outputs)`.
    biases: &'a [u8],
    /// int32, `(outputs)`.
    pub(super) multipliers: &'a [u8],
    pub(super) negative_multipliers: &'a [u8],
    pub(super) outputs: usize,
    /// Rows and columns of the window.
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// Inputs in a row of the window.
    pub(super) run: usize,
    /// Where windows start and outputs lie, each (y, x).
    pub(super) positions: Vec<[[isize; 2]; 2]>,
}

impl Phase<'_> {
    /// The weights of an output; none for outputs that there are not.
    pub(super) fn weights_of(&self, output: usize) -> &[u8] {
        let size = self.rows * self.run;
        self.weights.get(output * size..(output + 1) * size).unwrap_or(&[])
    }

    /// A weight; 0 where there is none.
    pub(super) fn weight(&self, output: usize, row: usize, at: usize) -> i8 {
        let weight = if at < self.run { self.weights_of(output).get(row * self.run + at) } else { None };
        weight.map_or(0, |weight| weight.cast_signed())
    }

    /// The bias of an output; 0 for outputs that there are not.
    pub(super) fn bias(&self, output: usize) -> i32 {
        self.biases.as_chunks().0.get(output).map_or(0, |word| i32::from_le_bytes(*word))
    }
}

/// The phases of a layer.
pub(super) fn phases<'a>(layer: &Layer<'a>) -> Vec<Phase<'a>> {
    let [rows, columns] = layer.record.kernel();
    let [stride_y, stride_x] = layer.record.stride();
    let [above, before] = layer.record.padding().map(usize::cast_signed);
    let (input, output) = (layer.input(), layer.output());
    let whole = Phase {
        weights: layer.weights,
        biases: layer.biases,
        multipliers: layer.multipliers,
        negative_multipliers: layer.negative_multipliers,
        outputs: output.channels,
        rows,
        columns,
        run: columns * input.channels,
        positions: vec![],
    };
    let everywhere = (0..output.height).flat_map(|y| (0..output.width).map(move |x| [y, x]));
    match layer.kind {
        LayerKind::Linear => {
            // A phase for each row of the output, whose features lie together in memory.
            let (outputs, run) = (output.row_len(), input.len());
            let row = |y: usize| {
                let part = |bytes: &'a [u8], size: usize| bytes.get(y * size..(y + 1) * size).unwrap_or(&[]);
                Phase {
                    weights: part(whole.weights, outputs * run),
                    biases: part(whole.biases, outputs * WORD_BYTES),
                    multipliers: part(whole.multipliers, outputs * WORD_BYTES),
                    negative_multipliers: part(whole.negative_multipliers, outputs * WORD_BYTES),
                    outputs,
                    run,
                    positions: vec![[[0; 2], [y.cast_signed(), 0]]],
                    ..whole
                }
            };
            (0..output.height).map(row).collect()
        }
        LayerKind::Conv2d | LayerKind::MaxPool => {
            let window = |[y, x]: [usize; 2]| {
                let [top, left] = [y * stride_y, x * stride_x].map(usize::cast_signed);
                [[top - above, left - before], [y, x].map(usize::cast_signed)]
            };
            vec![Phase { positions: everywhere.map(window).collect(), ..whole }]
        }
        LayerKind::UpsampleNearest => {
            let window =
                |[y, x]: [usize; 2]| [[y / stride_y, x / stride_x], [y, x]].map(|at| at.map(usize::cast_signed));
            vec![Phase { positions: everywhere.map(window).collect(), ..whole }]
        }
        LayerKind::ConvTranspose2d => transposed(layer, &whole),
    }
}

/// The phases of a transposed convolution, in the order of `docs/format.md`, section 3.
fn transposed<'a>(layer: &Layer<'a>, whole: &Phase<'a>) -> Vec<Phase<'a>> {
    let [stride_y, stride_x] = layer.record.stride();
    let [above, before] = layer.record.padding();
    let (input, output) = (layer.input(), layer.output());
    let mut weights = whole.weights;
    let mut biases = whole.biases;
    let mut phases = vec![];
    for (phase_y, phase_x) in (0..stride_y).flat_map(|y| (0..stride_x).map(move |x| (y, x))) {
        let (rows, columns) = match (taps(whole.rows, stride_y, phase_y), taps(whole.columns, stride_x, phase_x)) {
            // Where the kernel is smaller than the stride: biases only.
            (0, _) | (_, 0) => (0, 0),
            both => both,
        };
        let run = columns * input.channels;
        let (these, rest) = weights.split_at((rows * run * output.channels).min(weights.len()));
        let (these_biases, rest_biases) = biases.split_at((output.channels * WORD_BYTES).min(biases.len()));
        (weights, biases) = (rest, rest_biases);

        let axis = |size: usize, padding: usize, stride: usize, phase: usize, taps: usize| {
            let matching = (0..size).filter(move |at| (at + padding) % stride == phase);
            matching.map(move |at| [((at + padding) / stride + 1).cast_signed() - taps.cast_signed(), at.cast_signed()])
        };
        let column = || axis(output.width, before, stride_x, phase_x, columns);
        let positions = axis(output.height, above, stride_y, phase_y, rows)
            .flat_map(|[top, y]| column().map(move |[left, x]| [if rows == 0 { [0; 2] } else { [top, left] }, [y, x]]));
        phases.push(Phase {
            weights: these,
            biases: these_biases,
            rows,
            columns,
            run,
            positions: positions.collect(),
            ..*whole
        });
    }
    phases
}

/// How an image `(H, W, C)` lies in memory: with a border of zero points wide enough for all windows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plane {
    shape: Shape,
    /// Rows above and below the image, columns on its left and right.
    above: usize,
    below: usize,
    left: usize,
    right: usize,
    /// What the border holds, in the int8 range.
    pub(super) zero_point: i32,
    /// Elements behind the last row, which padded runs may read.
    slack: usize,
}

impl Plane {
    /// An image without a border.
    pub(super) fn bare(shape: Shape) -> Self {
        Plane { shape, above: 0, below: 0, left: 0, right: 0, zero_point: 0, slack: 0 }
    }

    /// The input of a layer.
    pub(super) fn before(layer: &Layer<'_>, slack: usize) -> Self {
        let shape = layer.input();
        let zero_point = layer.record.input_zero_point.into();
        let mut plane = Plane { zero_point, slack, ..Plane::bare(shape) };
        // Max-pooling looks at pixels inside only; linear layers and upsampling have no others.
        if matches!(layer.kind, LayerKind::Conv2d | LayerKind::ConvTranspose2d) {
            let [height, width] = [shape.height, shape.width].map(usize::cast_signed);
            for phase in phases(layer) {
                let [rows, columns] = [phase.rows, phase.columns].map(usize::cast_signed);
                for [[y, x], _] in phase.positions {
                    plane.above = plane.above.max((-y).max(0).unsigned_abs());
                    plane.left = plane.left.max((-x).max(0).unsigned_abs());
                    plane.below = plane.below.max((y + rows - height).max(0).unsigned_abs());
                    plane.right = plane.right.max((x + columns - width).max(0).unsigned_abs());
                }
            }
        }
        plane
    }

    fn row(&self) -> usize {
        (self.left + self.shape.width + self.right) * self.shape.channels
    }

    /// Elements from one row to the next, for windows of that many rows.
    pub(super) fn pitch(&self, rows: usize) -> usize {
        if rows > 1 { self.row() } else { 0 }
    }

    /// Elements in all.
    pub(super) fn len(&self) -> u64 {
        let [rows, row] = [self.above + self.shape.height + self.below, self.row()].map(|size| size as u64);
        rows.saturating_mul(row).saturating_add(self.slack as u64)
    }

    /// The element of the first channel at (y, x), which may lie in the border.
    pub(super) fn at(&self, [y, x]: [isize; 2]) -> usize {
        let row = self.above.saturating_add_signed(y);
        let column = self.left.saturating_add_signed(x);
        row * self.row() + column * self.shape.channels
    }

    /// Whether (y, x) is inside the image.
    pub(super) fn contains(&self, [y, x]: [isize; 2]) -> bool {
        let inside = |at: isize, size: usize| usize::try_from(at).is_ok_and(|at| at < size);
        inside(y, self.shape.height) && inside(x, self.shape.width)
    }

    /// The rows of the image, `(W, C)`, in memory.
    pub(super) fn rows<'m, E>(&self, memory: &'m mut [E]) -> impl Iterator<Item = &'m mut [E]> {
        let (start, length) = (self.left * self.shape.channels, self.shape.row_len());
        let rows = memory.chunks_exact_mut(self.row().max(1)).skip(self.above).take(self.shape.height);
        rows.map(move |row| &mut row[start..start + length])
    }
}
