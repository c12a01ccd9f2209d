//! What the sliding operators' attributes say: kernel, stride, dilation, padding, groups.

use super::super::{
    array::{Array, Fitting},
    graph::Node,
    refusal::Understood,
};
use crate::model::Window;

/// A sliding window over the rows and columns of an image; pairs are (vertical, horizontal).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sliding {
    /// Height and width.
    pub kernel: [usize; 2],
    /// Step.
    pub stride: [usize; 2],
    /// Distance of the taps.
    pub dilation: [usize; 2],
    /// Padding above and to the left.
    pub before: [usize; 2],
    /// Padding below and to the right.
    pub after: [usize; 2],
    /// What a transposed convolution adds below and to the right.
    pub output_padding: [usize; 2],
    /// Parts of the channels that do not see each other.
    pub groups: usize,
    /// Rows and columns that come out.
    pub output: [usize; 2],
}

/// What slides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slides {
    /// A convolution or pooling: many pixels to one.
    Over,
    /// A transposed convolution: one pixel to many.
    Back,
}

impl Sliding {
    /// The window of a layer.
    pub fn plain(window: Window) -> Self {
        let Window { kernel, stride, padding } = window;
        let (before, after) = (padding.before(), padding.after());
        let (dilation, output_padding, groups, output) = ([1; 2], [0; 2], 1, [0; 2]);
        Self { kernel, stride, dilation, before, after, output_padding, groups, output }
    }

    /// The window of `node` with a kernel of `kernel`, if that is known, over an image `(N, C, H, W)`.
    ///
    /// # Errors
    /// It has another number of dimensions, or does not fit.
    pub fn of(node: &Node, kernel: Option<&[usize]>, image: &[usize], slides: Slides) -> Understood<Self> {
        let &[_, _, height, width] = image else {
            let instead = "images have to be (N, C, H, W), with two-dimensional convolutions and pooling";
            return node.refuse(format!("slides over {} dimensions", image.len()), instead);
        };
        Self::parse(node, kernel, [height, width], slides).map_err(|reason| node.misfit(reason))
    }

    fn parse(node: &Node, kernel: Option<&[usize]>, input: [usize; 2], slides: Slides) -> Fitting<Self> {
        let kernel = match (pair(node, "kernel_shape")?, kernel) {
            (Some(kernel), _) => kernel,
            (None, Some(&[height, width])) => [height, width],
            (None, _) => return Err("has no kernel of two dimensions".into()),
        };
        let [stride, dilation] =
            [pair(node, "strides")?, pair(node, "dilations")?].map(|pair: Option<[usize; 2]>| pair.unwrap_or([1; 2]));
        let groups = usize::try_from(node.int("group").unwrap_or(1)).unwrap_or_default();
        if [kernel, stride, dilation].concat().contains(&0) || groups == 0 {
            return Err(format!("kernel {kernel:?}, strides {stride:?}, dilations {dilation:?}, group {groups}"));
        }
        let output_padding = pair(node, "output_padding")?.unwrap_or_default();
        let [before, after] = [[0; 2]; 2];
        let output = [0; 2];
        let mut sliding = Self { kernel, stride, dilation, before, after, output_padding, groups, output };
        match node.ints("pads") {
            Some(&[top, left, bottom, right]) => {
                let size = |n: i64| usize::try_from(n).map_err(|_| format!("padding {n}"));
                (sliding.before, sliding.after) = ([size(top)?, size(left)?], [size(bottom)?, size(right)?]);
            }
            Some(pads) => return Err(format!("pads {pads:?}")),
            None => {}
        }
        let automatic = node.text("auto_pad").unwrap_or_else(|| "NOTSET".into());
        for axis in 0..2 {
            match slides {
                Slides::Over => sliding.fit(axis, input[axis], &automatic, node.flag("ceil_mode"))?,
                Slides::Back => {
                    let asked = pair(node, "output_shape")?.map(|shape| shape[axis]);
                    sliding.fit_back(axis, input[axis], &automatic, asked)?;
                }
            }
        }
        Ok(sliding)
    }

    /// Pixels from the first to the last tap.
    pub fn reach(&self, axis: usize) -> usize {
        (self.kernel[axis] - 1).saturating_mul(self.dilation[axis]).saturating_add(1)
    }

    fn fit(&mut self, axis: usize, size: usize, automatic: &str, ceil: bool) -> Fitting<()> {
        let (reach, stride) = (self.reach(axis), self.stride[axis]);
        match automatic {
            "SAME_UPPER" | "SAME_LOWER" => {
                let padding = (size.div_ceil(stride).saturating_sub(1) * stride + reach).saturating_sub(size);
                self.share(axis, padding, automatic == "SAME_LOWER");
            }
            "VALID" => self.share(axis, 0, false),
            _ => {}
        }
        let padded = size.saturating_add(self.before[axis]).saturating_add(self.after[axis]);
        let room = padded.checked_sub(reach).ok_or_else(|| format!("a kernel of {reach} over {padded} pixels"))?;
        self.output[axis] = room / stride + 1;
        // One more window, if it begins inside the image or the padding before it.
        let begins = self.output[axis].saturating_mul(stride);
        if ceil && !room.is_multiple_of(stride) && begins < size + self.before[axis] {
            self.output[axis] += 1;
            self.after[axis] += begins + reach - padded;
        }
        Ok(())
    }

    fn fit_back(&mut self, axis: usize, size: usize, automatic: &str, asked: Option<usize>) -> Fitting<()> {
        let (reach, stride) = (self.reach(axis), self.stride[axis]);
        let whole = size.saturating_sub(1).saturating_mul(stride).saturating_add(reach);
        let same = automatic.starts_with("SAME").then(|| size.saturating_mul(stride));
        if let Some(asked) = asked.or(same) {
            // What is too much is cut, what is missing is added below and to the right.
            let with_more = whole.saturating_add(self.output_padding[axis]);
            self.output_padding[axis] += asked.saturating_sub(with_more);
            // The specification's halves: SAME_UPPER cuts the odd one at the end, everything else at the beginning.
            self.share(axis, with_more.saturating_sub(asked), automatic != "SAME_UPPER");
        } else if automatic == "VALID" {
            self.share(axis, 0, false);
        }
        let cut = self.before[axis].saturating_add(self.after[axis]);
        let output = whole.saturating_add(self.output_padding[axis]).checked_sub(cut).filter(|&n| n > 0);
        self.output[axis] = output.ok_or_else(|| format!("padding {cut} leaves nothing of {whole}"))?;
        Ok(())
    }

    /// Shares `padding` between both sides, the odd one before or after.
    fn share(&mut self, axis: usize, padding: usize, odd_before: bool) {
        let half = padding / 2;
        (self.before[axis], self.after[axis]) =
            if odd_before { (padding - half, half) } else { (half, padding - half) };
    }

    /// Calls `f` with each pair of a cell (the small side) and a pixel (the large side) inside the image that a tap joins, and the
    /// tap; all as (row, column).
    pub fn taps(&self, cells: [usize; 2], pixels: [usize; 2], mut f: impl FnMut([usize; 2], [usize; 2], [usize; 2])) {
        let at = |axis: usize, cell: usize, tap: usize| {
            (cell * self.stride[axis] + tap * self.dilation[axis])
                .checked_sub(self.before[axis])
                .filter(|&pixel| pixel < pixels[axis])
        };
        for row in 0..cells[0] {
            for tap_row in 0..self.kernel[0] {
                let Some(y) = at(0, row, tap_row) else { continue };
                for column in 0..cells[1] {
                    for tap_column in 0..self.kernel[1] {
                        let Some(x) = at(1, column, tap_column) else { continue };
                        f([row, column], [y, x], [tap_row, tap_column]);
                    }
                }
            }
        }
    }
}

fn pair(node: &Node, name: &str) -> Fitting<Option<[usize; 2]>> {
    match node.ints(name) {
        None | Some([]) => Ok(None),
        Some(&[a, b]) => {
            let size = |n| usize::try_from(n).map_err(|_| format!("{name} of {n}"));
            Ok(Some([size(a)?, size(b)?]))
        }
        // An output shape may come with batch and channels.
        Some(&[_, _, a, b]) if name == "output_shape" => {
            let size = |n| usize::try_from(n).map_err(|_| format!("{name} of {n}"));
            Ok(Some([size(a)?, size(b)?]))
        }
        Some(other) => Err(format!("{name} {other:?}, two dimensions are known")),
    }
}

/// The rows and columns of a kernel `(out, in, kernel H, kernel W)`.
pub fn kernel_of<T>(weight: &Array<T>) -> Option<&[usize]> {
    (weight.shape().len() == 4).then(|| &weight.shape()[2..])
}
