//! Convolutions, matrix products, pooling and normalization.

use super::{
    super::{
        array::{Array, Fitting},
        graph::Node,
        refusal::Understood,
        value::Value,
    },
    Inputs, required,
    window::{Slides, Sliding, kernel_of},
};

/// The result of `node`, if its operator belongs here.
pub fn evaluate(node: &Node, inputs: &Inputs) -> Understood<Option<Value>> {
    let x = || Ok(required(node, inputs, 0)?.floats());
    let result = match node.operator.as_str() {
        "Conv" => convolution(node, inputs, Slides::Over)?,
        "ConvTranspose" => convolution(node, inputs, Slides::Back)?,
        "MatMul" => product(&x()?, &required(node, inputs, 1)?.floats()).map_err(|reason| node.misfit(reason))?,
        "Gemm" => gemm(node, inputs)?,
        "BatchNormalization" => {
            let x = x()?;
            let factors = normalization(node, inputs, x.shape().len())?;
            let result = x.zip(&factors, |(x, (scale, offset))| scale * x + offset);
            result.map_err(|reason| node.misfit(reason))?
        }
        "PRelu" => {
            let slopes = required(node, inputs, 1)?.floats();
            let result = x()?.zip(&slopes, |(x, slope)| if x < 0.0 { slope * x } else { x });
            result.map_err(|reason| node.misfit(reason))?
        }
        "MaxPool" | "AveragePool" => pool(node, &x()?)?,
        _ => return Ok(None),
    };
    Ok(Some(Value::Float(result)))
}

fn convolution(node: &Node, inputs: &Inputs, slides: Slides) -> Understood<Array<f32>> {
    let (x, weight) = (required(node, inputs, 0)?.floats(), required(node, inputs, 1)?.floats());
    let sliding = Sliding::of(node, kernel_of(&weight), x.shape(), slides)?;
    let bias = inputs.get(2).copied().flatten().map(Value::floats);
    let sizes = (x.shape(), weight.shape());
    let ([_, inputs, height, width], [first, second, kh, kw]) = sizes else {
        return Err(node.misfit(format!("shapes {sizes:?}")));
    };
    let (inputs, input, output, groups) = (*inputs, [*height, *width], sliding.output, sliding.groups);
    // Weights are (out, in of a group, ...), or (in, out of a group, ...) of a transposed convolution.
    let (outputs, per_group) = match slides {
        Slides::Over => (*first, *second),
        Slides::Back => (second * groups, first / groups),
    };
    let fits = [kh, kw].into_iter().eq(&sliding.kernel)
        && per_group * groups == inputs
        && outputs.is_multiple_of(groups)
        && bias.as_ref().is_none_or(|bias| bias.data().len() == outputs);
    if !fits {
        return Err(node.misfit(format!("shapes {sizes:?} in {groups} groups")));
    }
    let mut sums = vec![0.0_f64; outputs * output[0] * output[1]];
    let (cells, pixels) = if slides == Slides::Over { (output, input) } else { (input, output) };
    sliding.taps(cells, pixels, |cell, pixel, tap| {
        let (from, to) = if slides == Slides::Over { (pixel, cell) } else { (cell, pixel) };
        let (from, to) = (from[0] * input[1] + from[1], to[0] * output[1] + to[1]);
        for o in 0..outputs {
            let group = o / (outputs / groups);
            for i in 0..per_group {
                let channel = group * per_group + i;
                let (a, b) = match slides {
                    Slides::Over => (o, i),
                    Slides::Back => (channel, o % (outputs / groups)),
                };
                let w = weight.data()[((a * second + b) * kh + tap[0]) * kw + tap[1]];
                let value = x.data()[channel * input[0] * input[1] + from];
                sums[o * output[0] * output[1] + to] += f64::from(w) * f64::from(value);
            }
        }
    });
    let cells = output[0] * output[1];
    let biased = |(i, sum): (usize, f64)| (sum + bias.as_ref().map_or(0.0, |b| b.data()[i / cells].into())) as f32;
    let data = sums.into_iter().enumerate().map(biased).collect();
    Array::new(vec![1, outputs, output[0], output[1]], data).map_err(|reason| node.misfit(reason))
}

/// NumPy's matmul, whose second factor has no batch of its own unless both are the same.
fn product(a: &Array<f32>, b: &Array<f32>) -> Fitting<Array<f32>> {
    let (&[ref batch @ .., rows, depth], &[.., b_depth, columns]) = (a.shape(), b.shape()) else {
        return Err(format!("multiplies shapes {:?} and {:?}", a.shape(), b.shape()));
    };
    let b_batch = &b.shape()[..b.shape().len() - 2];
    if depth != b_depth || !(b_batch.is_empty() || b_batch == batch) {
        return Err(format!("multiplies shapes {:?} and {:?}", a.shape(), b.shape()));
    }
    let count: usize = batch.iter().product();
    let mut data = Vec::with_capacity(count * rows * columns);
    for i in 0..count * rows {
        let start = if b_batch.is_empty() { 0 } else { i / rows * depth * columns };
        for j in 0..columns {
            let terms =
                (0..depth).map(|k| f64::from(a.data()[i * depth + k]) * f64::from(b.data()[start + k * columns + j]));
            data.push(terms.sum::<f64>() as f32);
        }
    }
    Array::new([batch, &[rows, columns]].concat(), data)
}

fn gemm(node: &Node, inputs: &Inputs) -> Understood<Array<f32>> {
    let (a, b) = (required(node, inputs, 0)?.floats(), required(node, inputs, 1)?.floats());
    let c = inputs.get(2).copied().flatten().map(Value::floats);
    let (alpha, beta) = (node.float("alpha").unwrap_or(1.0), node.float("beta").unwrap_or(1.0));
    let compute = || {
        let a = if node.flag("transA") { a.transpose(&[1, 0])? } else { a };
        let b = if node.flag("transB") { b.transpose(&[1, 0])? } else { b };
        let ab = product(&a, &b)?.map(|v| alpha * v);
        match c {
            Some(c) => ab.zip(&c, |(ab, c)| ab + beta * c),
            None => Ok(ab),
        }
    };
    compute().map_err(|reason: String| node.misfit(reason))
}

/// Scale and offset of a `BatchNormalization`, `(C, 1, ...)`, to be broadcast over its input of `rank` dimensions.
pub fn normalization(node: &Node, inputs: &Inputs, rank: usize) -> Understood<Array<(f32, f32)>> {
    if node.flag("training_mode") {
        return node.refuse("learns while it runs", "export the model in inference mode, model.eval()");
    }
    let [scale, offset, mean, variance] = [1, 2, 3, 4].map(|i| required(node, inputs, i).map(Value::floats));
    let (scale, offset, mean, variance) = (scale?, offset?, mean?, variance?);
    let epsilon = node.float("epsilon").unwrap_or(1e-5);
    let factors = || {
        let pairs = scale.zip(&variance, |(scale, variance)| scale / (variance + epsilon).sqrt())?;
        let offsets = offset.zip(&pairs.zip(&mean, |(scale, mean)| scale * mean)?, |(offset, shift)| offset - shift)?;
        let factors = pairs.zip(&offsets, |pair| pair)?;
        let shape = [factors.shape(), &vec![1; rank.saturating_sub(2)]].concat();
        factors.reshape(shape)
    };
    factors().map_err(|reason: String| node.misfit(reason))
}

fn pool(node: &Node, x: &Array<f32>) -> Understood<Array<f32>> {
    let sliding = Sliding::of(node, None, x.shape(), Slides::Over)?;
    let &[_, channels, height, width] = x.shape() else { return Err(node.misfit("takes no image")) };
    let [rows, columns] = sliding.output;
    let max = node.operator == "MaxPool";
    let mut data = Vec::with_capacity(channels * rows * columns);
    for channel in 0..channels {
        let image = &x.data()[channel * height * width..(channel + 1) * height * width];
        let mut cells = vec![if max { f64::NEG_INFINITY } else { 0.0 }; rows * columns];
        let mut seen = vec![0_usize; rows * columns];
        sliding.taps([rows, columns], [height, width], |cell, pixel, _| {
            let (to, value) = (cell[0] * columns + cell[1], f64::from(image[pixel[0] * width + pixel[1]]));
            cells[to] = if max { cells[to].max(value) } else { cells[to] + value };
            seen[to] += 1;
        });
        let whole = sliding.kernel[0] * sliding.kernel[1];
        let counted = |seen: usize| if node.flag("count_include_pad") { whole } else { seen.max(1) };
        let result = |(cell, seen): (f64, usize)| if max { cell as f32 } else { (cell / counted(seen) as f64) as f32 };
        data.extend(cells.into_iter().zip(seen).map(result));
    }
    Array::new(vec![1, channels, rows, columns], data).map_err(|reason| node.misfit(reason))
}
