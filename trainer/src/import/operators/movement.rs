//! Operators that only move elements: the same for numbers and for anything that stands for them.

use super::super::{
    array::{Array, Fitting, elements},
    graph::Node,
    refusal::Understood,
    value::Value,
};

/// Whether `operator` only moves elements.
pub fn is_movement(operator: &str) -> bool {
    const ALL: [&str; 18] = [
        "Concat",
        "DepthToSpace",
        "Dropout",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "Pad",
        "Reshape",
        "Resize",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Tile",
        "Transpose",
        "Unsqueeze",
        "Upsample",
    ];
    ALL.contains(&operator)
}

/// How many of the leading inputs are moved; the others say how.
pub fn moved_inputs(node: &Node) -> usize {
    if node.operator == "Concat" { node.inputs.len() } else { 1 }
}

/// What `node`, a movement, makes of `data`; `parameters` are the known inputs behind them by their position, `constant` makes an
/// element of a number.
///
/// # Errors
/// It cannot be understood.
pub fn apply<T: Clone>(
    node: &Node,
    data: &[&Array<T>],
    parameters: &Parameters,
    constant: impl Fn(f32) -> T,
) -> Understood<Vec<Array<T>>> {
    let Some(&x) = data.first() else { return Err(node.misfit("has no input")) };
    let one = |result: Fitting<Array<T>>| result.map(|array| vec![array]);
    let result =
        match node.operator.as_str() {
            "Identity" => Ok(vec![x.clone()]),
            "Dropout" => return dropout(node, x, parameters),
            "Flatten" => one(flatten(node, x)),
            "Reshape" => one(reshape(node, x, parameters)),
            "Transpose" => one(transpose(node, x)),
            "Squeeze" => one(squeeze(node, x, parameters)),
            "Unsqueeze" => one(unsqueeze(node, x, parameters)),
            "Slice" => one(slice(node, x, parameters)),
            "Split" => split(node, x, parameters),
            "Gather" => one(gather(node, x, parameters)),
            "Concat" => one(Array::<T>::axis(node.int("axis").unwrap_or(1), x.shape().len())
                .and_then(|axis| Array::concat(data, axis))),
            "Expand" => one(expand(x, parameters)),
            "Tile" => one(tile(x, parameters)),
            "DepthToSpace" | "SpaceToDepth" => one(depth_and_space(node, x)),
            "Pad" => return pad(node, x, parameters, constant),
            "Resize" | "Upsample" => return resize(node, x, parameters),
            _ => return node.refuse("is no operator that moves elements", "nothing"),
        };
    result.map_err(|reason| node.misfit(reason))
}

/// Known inputs by position.
#[derive(Debug, Default)]
pub struct Parameters<'a>(pub Vec<Option<&'a Value>>);

impl Parameters<'_> {
    fn get(&self, i: usize) -> Option<&Value> {
        self.0.get(i).copied().flatten()
    }

    /// The whole numbers of input `i`, if it is there.
    fn ints(&self, i: usize) -> Fitting<Option<&[i64]>> {
        self.get(i).map(|value| value.ints().map(Array::data)).transpose()
    }

    /// Those of an attribute, or of input `i`, where newer operator sets have them.
    fn attribute_or<'a>(&'a self, node: &'a Node, name: &str, i: usize) -> Fitting<Option<&'a [i64]>> {
        Ok(node.ints(name).or(self.ints(i)?))
    }
}

fn count(n: i64) -> Fitting<usize> {
    usize::try_from(n).map_err(|_| format!("a size of {n}"))
}

fn signed(n: usize) -> i64 {
    n as i64
}

fn dropout<T: Clone>(node: &Node, x: &Array<T>, parameters: &Parameters) -> Understood<Vec<Array<T>>> {
    let training = parameters.get(2).is_some_and(|mode| mode.floats().data() != [0.0]);
    if training {
        return node.refuse("drops values at random", "export the model in inference mode, model.eval()");
    }
    Ok(vec![x.clone()])
}

fn flatten<T: Clone>(node: &Node, x: &Array<T>) -> Fitting<Array<T>> {
    let rank = x.shape().len();
    let axis = match node.int("axis").unwrap_or(1) {
        axis if axis == signed(rank) => rank,
        axis => Array::<T>::axis(axis, rank)?,
    };
    x.reshape(vec![x.shape()[..axis].iter().product(), x.shape()[axis..].iter().product()])
}

fn reshape<T: Clone>(node: &Node, x: &Array<T>, parameters: &Parameters) -> Fitting<Array<T>> {
    let target = parameters.attribute_or(node, "shape", 1)?.ok_or("has no shape")?;
    let keeps = !node.flag("allowzero");
    let mut shape = Vec::with_capacity(target.len());
    for (i, &size) in target.iter().enumerate() {
        shape.push(match size {
            0 if keeps => *x.shape().get(i).ok_or("keeps a dimension that is not there")?,
            -1 => 1,
            size => count(size)?,
        });
    }
    if let Some(free) = target.iter().position(|&size| size == -1) {
        shape[free] = x.data().len().checked_div(elements(&shape)?).unwrap_or_default();
    }
    x.reshape(shape).map_err(|_| format!("makes {target:?} of {:?}, seen for a batch of one", x.shape()))
}

fn transpose<T: Clone>(node: &Node, x: &Array<T>) -> Fitting<Array<T>> {
    match node.ints("perm") {
        Some(order) => x.transpose(&order.iter().map(|&axis| count(axis)).collect::<Fitting<Vec<_>>>()?),
        None => x.transpose(&(0..x.shape().len()).rev().collect::<Vec<_>>()),
    }
}

fn squeeze<T: Clone>(node: &Node, x: &Array<T>, parameters: &Parameters) -> Fitting<Array<T>> {
    let rank = x.shape().len();
    let axes = match parameters.attribute_or(node, "axes", 1)? {
        Some(axes) => axes.iter().map(|&axis| Array::<T>::axis(axis, rank)).collect::<Fitting<Vec<_>>>()?,
        None => (0..rank).filter(|&axis| x.shape()[axis] == 1).collect(),
    };
    x.reshape((0..rank).filter(|axis| !axes.contains(axis)).map(|axis| x.shape()[axis]).collect())
}

fn unsqueeze<T: Clone>(node: &Node, x: &Array<T>, parameters: &Parameters) -> Fitting<Array<T>> {
    let axes = parameters.attribute_or(node, "axes", 1)?.ok_or("has no axes")?;
    let rank = x.shape().len() + axes.len();
    let axes = axes.iter().map(|&axis| Array::<T>::axis(axis, rank)).collect::<Fitting<Vec<_>>>()?;
    let mut old = x.shape().iter();
    let size = |axis| if axes.contains(&axis) { Some(1) } else { old.next().copied() };
    x.reshape((0..rank).map_while(size).collect())
}

fn slice<T: Clone>(node: &Node, x: &Array<T>, parameters: &Parameters) -> Fitting<Array<T>> {
    let rank = x.shape().len();
    let starts = parameters.attribute_or(node, "starts", 1)?.ok_or("has no starts")?;
    let ends = parameters.attribute_or(node, "ends", 2)?.ok_or("has no ends")?;
    let axes = parameters.attribute_or(node, "axes", 3)?;
    let steps = parameters.ints(4)?;
    let mut shape = x.shape().to_vec();
    let mut walk = vec![(0, 1); rank];
    for (i, (&start, &end)) in starts.iter().zip(ends).enumerate() {
        let axis = axes.map_or(signed(i), |axes| axes.get(i).copied().unwrap_or(i64::MAX));
        let axis = Array::<T>::axis(axis, rank)?;
        let step = steps.and_then(|steps| steps.get(i)).copied().unwrap_or(1);
        let size = signed(x.shape()[axis]);
        let from_end = |at: i64| if at < 0 { at.saturating_add(size) } else { at };
        let (start, end) = match step {
            1.. => (from_end(start).clamp(0, size), from_end(end).clamp(0, size)),
            0 => return Err("steps of 0".into()),
            _ => (from_end(start).clamp(0, size - 1), from_end(end).clamp(-1, size - 1)),
        };
        let length = if step > 0 { end - start } else { start - end }.max(0);
        shape[axis] = count(length)?.div_ceil(count(step.saturating_abs())?);
        walk[axis] = (start, step);
    }
    x.moved(shape, None, |to, from| {
        for ((from, &to), &(start, step)) in from.iter_mut().zip(to).zip(&walk) {
            *from = usize::try_from(start + step * signed(to)).unwrap_or(usize::MAX);
        }
        true
    })
}

/// The part of `x` that begins at `start` along `axis`.
fn part<T: Clone>(x: &Array<T>, axis: usize, start: usize, length: usize) -> Fitting<Array<T>> {
    let mut shape = x.shape().to_vec();
    shape[axis] = length;
    x.moved(shape, None, |to, from| {
        from.copy_from_slice(to);
        from[axis] += start;
        true
    })
}

fn split<T: Clone>(node: &Node, x: &Array<T>, parameters: &Parameters) -> Fitting<Vec<Array<T>>> {
    let axis = Array::<T>::axis(node.int("axis").unwrap_or(0), x.shape().len())?;
    let lengths = match parameters.attribute_or(node, "split", 1)? {
        Some(lengths) => lengths.iter().map(|&n| count(n)).collect::<Fitting<Vec<_>>>()?,
        None => {
            let length = x.shape()[axis].div_ceil(node.outputs.len().max(1));
            (0..node.outputs.len()).map(|i| length.min(x.shape()[axis].saturating_sub(i * length))).collect()
        }
    };
    let mut start = 0;
    let mut parts = Vec::new();
    for length in lengths {
        parts.push(part(x, axis, start, length)?);
        start += length;
    }
    Ok(parts)
}

fn gather<T: Clone>(node: &Node, x: &Array<T>, parameters: &Parameters) -> Fitting<Array<T>> {
    let axis = Array::<T>::axis(node.int("axis").unwrap_or(0), x.shape().len())?;
    let indices = parameters.get(1).ok_or("has no indices that are known")?.ints()?;
    let index = |&i: &i64| Array::<T>::axis(i, x.shape()[axis]);
    let indices = Array::new(indices.shape().to_vec(), indices.data().iter().map(index).collect::<Fitting<_>>()?)?;
    let shape = [&x.shape()[..axis], indices.shape(), &x.shape()[axis + 1..]].concat();
    let rank = indices.shape().len();
    let place = |at: &[usize]| at.iter().zip(indices.shape()).fold(0, |flat, (at, size)| flat * size + at);
    x.moved(shape, None, |to, from| {
        from[..axis].copy_from_slice(&to[..axis]);
        from[axis] = indices.data()[place(&to[axis..axis + rank])];
        from[axis + 1..].copy_from_slice(&to[axis + rank..]);
        true
    })
}

fn expand<T: Clone>(x: &Array<T>, parameters: &Parameters) -> Fitting<Array<T>> {
    let target = parameters.ints(1)?.ok_or("has no shape")?;
    let target = target.iter().map(|&n| count(n)).collect::<Fitting<Vec<_>>>()?;
    x.broadcast(&super::super::array::broadcast_shape(x.shape(), &target)?)
}

fn tile<T: Clone>(x: &Array<T>, parameters: &Parameters) -> Fitting<Array<T>> {
    let repeats = parameters.ints(1)?.ok_or("has no repeats")?;
    if repeats.len() != x.shape().len() {
        return Err(format!("{} repeats of {} dimensions", repeats.len(), x.shape().len()));
    }
    let times = |(&size, &n): (&usize, &i64)| Ok(size.saturating_mul(count(n)?));
    let shape = x.shape().iter().zip(repeats).map(times).collect::<Fitting<Vec<_>>>()?;
    x.moved(shape, None, |to, from| {
        from.iter_mut().zip(to).zip(x.shape()).for_each(|((from, to), size)| *from = to % size);
        true
    })
}

fn depth_and_space<T: Clone>(node: &Node, x: &Array<T>) -> Fitting<Array<T>> {
    let block = count(node.int("blocksize").unwrap_or_default())?;
    let &[n, c, h, w] = x.shape() else { return Err(format!("takes an image, gets {:?}", x.shape())) };
    if block == 0 {
        return Err("blocks of 0".into());
    }
    if node.operator == "SpaceToDepth" {
        let blocks = x.reshape(vec![n, c, h / block, block, w / block, block])?.transpose(&[0, 3, 5, 1, 2, 4])?;
        return blocks.reshape(vec![n, c * block * block, h / block, w / block]);
    }
    let depth = c / (block * block);
    let (split, order) = match node.text("mode").as_deref() {
        Some("CRD") => (vec![n, depth, block, block, h, w], [0, 1, 4, 2, 5, 3]),
        _ => (vec![n, block, block, depth, h, w], [0, 3, 4, 1, 5, 2]),
    };
    x.reshape(split)?.transpose(&order)?.reshape(vec![n, depth, h * block, w * block])
}

fn pad<T: Clone>(
    node: &Node,
    x: &Array<T>,
    parameters: &Parameters,
    constant: impl Fn(f32) -> T,
) -> Understood<Vec<Array<T>>> {
    let mode = node.text("mode").unwrap_or_else(|| "constant".into());
    if mode != "constant" {
        return node.refuse(format!("pads in mode {mode}"), "pad with zeros, as the padding of a convolution does");
    }
    let filling = parameters.get(2).and_then(|value| value.floats().data().first().copied());
    let filling = constant(filling.or(node.float("value")).unwrap_or(0.0));
    let padded = || -> Fitting<Array<T>> {
        let rank = x.shape().len();
        let pads = parameters.attribute_or(node, "pads", 1)?.ok_or("has no pads")?;
        let axes = match parameters.ints(3)? {
            Some(axes) => axes.iter().map(|&axis| Array::<T>::axis(axis, rank)).collect::<Fitting<Vec<_>>>()?,
            None => (0..rank).collect(),
        };
        if pads.len() != 2 * axes.len() {
            return Err(format!("{} pads of {} dimensions", pads.len(), axes.len()));
        }
        let mut before = vec![0; rank];
        let mut shape = x.shape().to_vec();
        for (i, &axis) in axes.iter().enumerate() {
            before[axis] = pads[i];
            let sum = pads[i].checked_add(pads[i + axes.len()]).and_then(|sum| sum.checked_add(signed(shape[axis])));
            shape[axis] = count(sum.ok_or("pads that overflow")?)?;
        }
        x.moved(shape, Some(&filling), |to, from| {
            let mut inside = true;
            for (axis, (&to, from)) in to.iter().zip(from).enumerate() {
                let at = usize::try_from(signed(to) - before[axis]).ok().filter(|&at| at < x.shape()[axis]);
                inside &= at.is_some();
                *from = at.unwrap_or_default();
            }
            inside
        })
    };
    padded().map(|array| vec![array]).map_err(|reason| node.misfit(reason))
}

fn resize<T: Clone>(node: &Node, x: &Array<T>, parameters: &Parameters) -> Understood<Vec<Array<T>>> {
    let mode = node.text("mode").unwrap_or_else(|| "nearest".into());
    if mode != "nearest" {
        let instead = "resize in mode nearest, or upsample with a transposed convolution";
        return node.refuse(format!("resizes in mode {mode}"), instead);
    }
    let old = x.shape();
    let floats = |i: usize| parameters.get(i).map(|v| v.floats().data().to_vec()).filter(|v| !v.is_empty());
    // Operator set 11 put a region in front of the scales, and sizes behind them.
    let newer = node.operator == "Resize" && node.opset >= 11;
    let scales = node.floats("scales").map(<[f32]>::to_vec).or_else(|| floats(if newer { 2 } else { 1 }));
    let sizes = if newer { parameters.ints(3).map_err(|reason| node.misfit(reason))? } else { None };
    let axes = match node.ints("axes") {
        Some(axes) => axes
            .iter()
            .map(|&axis| Array::<T>::axis(axis, old.len()))
            .collect::<Fitting<_>>()
            .map_err(|e| node.misfit(e))?,
        None => (0..old.len()).collect::<Vec<_>>(),
    };
    let mut shape = old.to_vec();
    let mut scale: Vec<f64> = vec![1.0; old.len()];
    for (i, &axis) in axes.iter().enumerate() {
        match (sizes.and_then(|s| s.get(i)), scales.as_ref().and_then(|s| s.get(i))) {
            (Some(&size), _) => {
                shape[axis] = count(size).map_err(|reason| node.misfit(reason))?;
                scale[axis] = shape[axis] as f64 / old[axis].max(1) as f64;
            }
            (None, Some(&factor)) => {
                scale[axis] = factor.into();
                shape[axis] = (old[axis] as f64 * scale[axis]).floor() as usize;
            }
            (None, None) => return Err(node.misfit("has neither scales nor sizes that are known")),
        }
    }
    let place = placing(node, newer)?;
    let moved = x.moved(shape.clone(), None, |to, from| {
        for (axis, (&to, from)) in to.iter().zip(from).enumerate() {
            let at = place(to as f64, scale[axis], (old[axis], shape[axis]));
            *from = (at.max(0.0) as usize).min(old[axis].saturating_sub(1));
        }
        true
    });
    moved.map(|array| vec![array]).map_err(|reason| node.misfit(reason))
}

/// Which old position a new one takes its value from, by the formulas of the operator Resize; in positions, scale, and the old and
/// the new size.
fn placing(node: &Node, newer: bool) -> Understood<impl Fn(f64, f64, (usize, usize)) -> f64> {
    let text = |name: &str, default: &str| node.text(name).unwrap_or_else(|| default.into());
    let (coordinates, nearest) = if newer {
        (text("coordinate_transformation_mode", "half_pixel"), text("nearest_mode", "round_prefer_floor"))
    } else {
        ("asymmetric".into(), "floor".into())
    };
    let original: fn(f64, f64, (usize, usize)) -> f64 = match coordinates.as_str() {
        "asymmetric" => |x, scale, _| x / scale,
        "half_pixel" | "half_pixel_symmetric" => |x, scale, _| (x + 0.5) / scale - 0.5,
        "pytorch_half_pixel" => |x, scale, (_, new)| if new > 1 { (x + 0.5) / scale - 0.5 } else { 0.0 },
        "tf_half_pixel_for_nn" => |x, scale, _| (x + 0.5) / scale,
        "align_corners" => |x, _, (old, new)| if new > 1 { x * (old as f64 - 1.0) / (new as f64 - 1.0) } else { 0.0 },
        other => return node.refuse(format!("places pixels in mode {other}"), "use mode asymmetric or half_pixel"),
    };
    let round: fn(f64) -> f64 = match nearest.as_str() {
        "floor" => f64::floor,
        "ceil" => f64::ceil,
        "round_prefer_ceil" => |x| (x + 0.5).floor(),
        _ => |x| (x - 0.5).ceil(),
    };
    Ok(move |x, scale, sizes| round(original(x, scale, sizes)))
}
