//! Elements read as an image: which channels, how often each pixel is repeated, how many zeros are around it.

use super::super::{array::Array, graph::Node, refusal::Understood};
use super::{Element, Stage, Traced, Tracer, label, stage::position};
use crate::model::{Activation, ImageShape, Layer, Padding, Shape, Window};

/// An image made of the outputs of one stage.
#[derive(Debug)]
pub(super) struct View {
    /// The stage.
    pub stage: usize,
    /// For each channel the stage's channel.
    pub channels: Vec<usize>,
    /// For each channel what it is multiplied with and what is added.
    pub factors: Vec<(f32, f32)>,
    /// Rows above and columns to the left that the stage does not have; negative if it has more.
    pub before: [isize; 2],
    /// Rows below and columns to the right.
    pub after: [isize; 2],
    /// What is there instead.
    pub filling: f32,
    /// Nodes that moved the elements.
    pub nodes: Vec<String>,
}

impl View {
    /// Whether it is larger than the stage's image somewhere.
    pub fn is_padded(&self) -> bool {
        [self.before, self.after].concat().iter().any(|&n| n > 0)
    }
}

/// How positions along one axis follow from those of the stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Along {
    factor: usize,
    before: isize,
    after: isize,
}

impl Tracer {
    /// `traced`, `(1, C, H, W)`, as an image. Repeated pixels become a layer, and features get the order of an image.
    ///
    /// # Errors
    /// It is no such image.
    pub(super) fn view(&mut self, node: &Node, traced: &Traced) -> Understood<View> {
        let &[1, channels, height, width] = traced.elements.shape() else {
            let instead = "images have to be (1, C, H, W)";
            return node.refuse(format!("gets {:?} for one image", traced.elements.shape()), instead);
        };
        let shape = ImageShape { channels, height, width };
        let mut id = self.stage_of(node, traced)?;
        let separated = self.stages[id].image().and_then(|image| separate(&traced.elements, shape, image));
        let (traced, separated) = match separated {
            Some(separated) => (traced.clone(), Some(separated)),
            None if self.stages[id].is_linear() => {
                let arranged = self.arrange(node, traced, shape)?;
                id = self.stage_of(node, &arranged)?;
                let image = self.stages[id].image();
                let separated = image.and_then(|image| separate(&arranged.elements, shape, image));
                (arranged, separated)
            }
            None => (traced.clone(), None),
        };
        let image = self.stages[id].image();
        let along = |separated: &Separated, image: ImageShape| {
            let [rows, columns] = &separated.positions;
            Some([along(rows, image.height)?, along(columns, image.width)?])
        };
        let found = separated.zip(image).and_then(|(separated, image)| Some((along(&separated, image)?, separated)));
        let Some(([rows, columns], Separated { channels, factors, filling, .. })) = found else {
            return node.refuse(
                "takes pixels in another order than a layer gives them, or leaves some out",
                "padding with zeros, cutting at the border, whole factors of nearest upsampling",
            );
        };
        if [rows.factor, columns.factor] != [1; 2] {
            let factor = [rows.factor, columns.factor];
            let ImageShape { channels, height, width } = self.stages[id].image().unwrap_or(shape);
            let output = Shape::Image(ImageShape { channels, height: height * factor[0], width: width * factor[1] });
            let layer = Some(Layer::UpsampleNearest { factor });
            let (weight, bias, nodes) = (Vec::new(), Vec::new(), traced.nodes.clone());
            id = self.push(node, Stage { source: id, layer, weight, bias, output, nodes })?;
        }
        let (before, after) = ([rows.before, columns.before], [rows.after, columns.after]);
        let nodes = if [rows.factor, columns.factor] == [1; 2] { traced.nodes } else { Vec::new() };
        Ok(View { stage: id, channels, factors, before, after, filling: filling.unwrap_or(0.0), nodes })
    }

    /// Puts the outputs of a linear stage into the order in which `traced` takes them as an image of `shape`, each once.
    fn arrange(&mut self, node: &Node, traced: &Traced, shape: ImageShape) -> Understood<Traced> {
        let id = self.stage_of(node, traced)?;
        let element = |[c, y, x]: [usize; 3]| traced.elements.data()[(c * shape.height + y) * shape.width + x];
        let line = |axis: usize, at: usize| -> Vec<Option<usize>> {
            let across = if axis == 0 { shape.width } else { shape.height };
            let along = |c: usize| (0..across).map(move |i| if axis == 0 { [c, at, i] } else { [c, i, at] });
            (0..shape.channels).flat_map(along).map(|at| element(at).index()).collect()
        };
        // The first of equal neighbors stands for them; lines of constants are padding.
        let distinct = |axis: usize, n: usize| {
            let mut firsts: Vec<(usize, Vec<Option<usize>>)> = Vec::new();
            let mut of: Vec<Option<usize>> = Vec::with_capacity(n);
            for at in 0..n {
                let line = line(axis, at);
                if line.iter().all(Option::is_none) {
                    of.push(None);
                    continue;
                }
                if firsts.last().is_none_or(|(_, last)| *last != line) {
                    firsts.push((at, line));
                }
                of.push(Some(firsts.len() - 1));
            }
            (firsts.into_iter().map(|(at, _)| at).collect::<Vec<_>>(), of)
        };
        let ((rows, row_of), (columns, column_of)) = (distinct(0, shape.height), distinct(1, shape.width));
        let mut indices = Vec::new();
        for c in 0..shape.channels {
            for (&y, x) in rows.iter().flat_map(|y| columns.iter().map(move |x| (y, x))) {
                let Some(index) = element([c, y, *x]).index() else {
                    let instead = "zeros around an image alone";
                    return node.refuse("mixes computed values and constants in one image", instead);
                };
                indices.push(index);
            }
        }
        let image = ImageShape { channels: shape.channels, height: rows.len(), width: columns.len() };
        let mut stage = self.stages[id].with_rows(&indices, Shape::Image(image));
        stage.nodes.extend(traced.nodes.iter().cloned());
        let id = self.push(node, stage)?;
        let mut at = 0;
        let elements = traced.elements.map(|&element| {
            let [c, y, x] = position(at, shape);
            at += 1;
            match (element.index(), row_of[y], column_of[x]) {
                (Some(_), Some(y), Some(x)) => {
                    let Element { scale, offset, .. } = element;
                    Element::of(id, (c * image.height + y) * image.width + x).affine(scale, offset)
                }
                _ => Element::constant(element.offset),
            }
        });
        Ok(Traced { elements, nodes: Vec::new() })
    }

    /// The stage that gives the image `traced` as it is, in a layer with weights and without a function: where there is none, one is
    /// added.
    pub fn last_layer(&mut self, node: &Node, traced: &Traced) -> Understood<usize> {
        let settled = self.settle(node, traced, Activation::Identity)?;
        let view = self.view(node, &settled)?;
        if view.is_padded() {
            return node.refuse("gives an image with a border of constants", "an image whose pixels are all computed");
        }
        let View { stage: id, channels, .. } = self.cropped(node, view)?;
        let stage = &self.stages[id];
        if stage.has_weights()
            && stage.activation() == Activation::Identity
            && channels.iter().copied().eq(0..stage.channels())
        {
            return Ok(id);
        }
        let Some(image) = stage.image() else { return Ok(id) };
        let (inputs, outputs) = (image.channels, channels.len());
        let mut weight = vec![0.0; inputs * outputs];
        channels.iter().enumerate().for_each(|(o, i)| weight[o * inputs + i] = 1.0);
        let window = Window { kernel: [1; 2], stride: [1; 2], padding: Padding::default() };
        let layer = Some(Layer::conv2d(inputs, outputs, window, Activation::Identity));
        let output = Shape::Image(ImageShape { channels: outputs, ..image });
        let nodes = vec![label(node)];
        self.push(node, Stage { source: id, layer, weight, bias: vec![0.0; outputs], output, nodes })
    }

    /// `view` without the rows and columns of the stage that it cuts off: a transposed convolution leaves them out, else a layer
    /// is put behind the stage.
    pub(super) fn cropped(&mut self, node: &Node, mut view: View) -> Understood<View> {
        let cut = |sides: [isize; 2]| sides.map(|n| n.min(0).unsigned_abs());
        let (before, after) = (cut(view.before), cut(view.after));
        if [before, after] == [[0; 2]; 2] {
            return Ok(view);
        }
        let source = self.stages[view.stage].clone();
        let Some(image) = source.image() else { return Ok(view) };
        let sides = [0, 1].map(|axis| image.sides()[axis].saturating_sub(before[axis] + after[axis]));
        let output = Shape::Image(ImageShape { channels: image.channels, height: sides[0], width: sides[1] });
        let stage = match source.layer {
            Some(Layer::ConvTranspose2d {
                in_channels,
                out_channels,
                kernel,
                stride,
                padding,
                output_padding,
                activation,
            }) if output_padding == [0; 2] => {
                let [top, left, bottom, right] = padding.sides();
                let padding = Padding {
                    top: top + before[0],
                    left: left + before[1],
                    bottom: bottom + after[0],
                    right: right + after[1],
                };
                let layer = Layer::ConvTranspose2d {
                    in_channels,
                    out_channels,
                    kernel,
                    stride,
                    padding,
                    output_padding,
                    activation,
                };
                Stage { layer: Some(layer), output, ..source }
            }
            _ => {
                // Ones at one tap of a kernel that reaches as far as what is cut off.
                let kernel = [0, 1].map(|axis| before[axis] + 1 + after[axis]);
                let (n, taps) = (image.channels, kernel[0] * kernel[1]);
                super::check_weights(node, n * n, taps)?;
                let mut weight = vec![0.0; n * n * taps];
                for c in 0..n {
                    weight[(c * n + c) * taps + before[0] * kernel[1] + before[1]] = 1.0;
                }
                let (padding, activation) = (Padding::default(), Activation::Identity);
                let layer =
                    Layer::Conv2d { in_channels: n, out_channels: n, kernel, stride: [1; 2], padding, activation };
                let nodes = [&view.nodes[..], &[label(node)]].concat();
                Stage { source: view.stage, layer: Some(layer), weight, bias: vec![0.0; n], output, nodes }
            }
        };
        view.stage = self.push(node, stage)?;
        view.before = view.before.map(|n| n.max(0));
        view.after = view.after.map(|n| n.max(0));
        Ok(view)
    }
}

/// An image whose channel, row and column each follow from those of a stage.
struct Separated {
    channels: Vec<usize>,
    factors: Vec<(f32, f32)>,
    positions: [Vec<Option<usize>>; 2],
    filling: Option<f32>,
}

/// Reads `elements`, an image of `shape`, as one of a stage's image `source`.
fn separate(elements: &Array<Element>, shape: ImageShape, source: ImageShape) -> Option<Separated> {
    let (mut channels, mut factors) = (vec![None; shape.channels], vec![None; shape.channels]);
    let mut positions = [vec![None; shape.height], vec![None; shape.width]];
    let mut filling = None;
    let same = |slot: &mut Option<usize>, value: usize| *slot.get_or_insert(value) == value;
    for (i, element) in elements.data().iter().enumerate() {
        let [c, y, x] = position(i, shape);
        let Some(index) = element.index() else {
            if *filling.get_or_insert(element.offset) != element.offset {
                return None;
            }
            continue;
        };
        let [source_c, source_y, source_x] = position(index, source);
        let factor = (element.scale, element.offset);
        let fits = same(&mut channels[c], source_c)
            && same(&mut positions[0][y], source_y)
            && same(&mut positions[1][x], source_x)
            && *factors[c].get_or_insert(factor) == factor;
        if !fits {
            return None;
        }
    }
    // A constant among computed values is no border.
    let [rows, columns] = &positions;
    let inside = |i: usize| {
        let [_, y, x] = position(i, shape);
        rows[y].is_some() && columns[x].is_some()
    };
    let hole = |(i, element): (usize, &Element)| element.index().is_none() && inside(i);
    if elements.data().iter().enumerate().any(hole) {
        return None;
    }
    let channels = channels.into_iter().collect::<Option<Vec<_>>>()?;
    let factors = factors.into_iter().collect::<Option<Vec<_>>>()?;
    Some(Separated { channels, factors, positions, filling })
}

/// Reads positions along an axis as those of a source with `size` positions: each repeated `factor` times, with more or fewer of
/// them on either side.
fn along(positions: &[Option<usize>], size: usize) -> Option<Along> {
    let start = positions.iter().position(Option::is_some)?;
    let end = positions.iter().rposition(Option::is_some)? + 1;
    let inside = positions[start..end].iter().copied().collect::<Option<Vec<_>>>()?;
    let first = *inside.first()?;
    let factor = inside.chunk_by(|a, b| a == b).map(<[usize]>::len).max()?;
    // The first position may have been cut in the middle of its repetitions.
    let begins = (0..factor)
        .find(|phase| inside.iter().enumerate().all(|(i, &at)| (first * factor + phase + i) / factor == at))?;
    let cut = first * factor + begins;
    let before = start as isize - cut as isize;
    let after = (positions.len() - end) as isize - (size * factor - cut - inside.len()) as isize;
    Some(Along { factor, before, after })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(positions: &[Option<usize>], size: usize) -> Option<(usize, isize, isize)> {
        along(positions, size).map(|Along { factor, before, after }| (factor, before, after))
    }

    #[test]
    fn padding_cutting_and_repetition_are_read_off_positions() {
        let some = |positions: &[usize]| positions.iter().map(|&at| Some(at)).collect::<Vec<_>>();
        assert_eq!(read(&some(&[0, 1, 2]), 3), Some((1, 0, 0)));
        assert_eq!(read(&[&[None], &some(&[0, 1, 2])[..], &[None, None]].concat(), 3), Some((1, 1, 2)));
        assert_eq!(read(&some(&[1, 2]), 5), Some((1, -1, -2)));
        assert_eq!(read(&some(&[0, 0, 0, 1, 1, 1]), 2), Some((3, 0, 0)));
        assert_eq!(read(&some(&[0, 1, 1, 2]), 3), Some((2, -1, -1)));
        assert_eq!(read(&[&[None], &some(&[0, 0, 1])[..]].concat(), 2), Some((2, 1, -1)));
        for wrong in [some(&[0, 2, 4]), some(&[2, 1, 0]), some(&[0, 0, 1, 2, 2]), vec![Some(0), None, Some(1)]] {
            assert_eq!(read(&wrong, 5), None);
        }
        assert_eq!(read(&[None, None], 2), None);
    }
}
