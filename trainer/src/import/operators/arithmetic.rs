//! Elementwise operators, reductions, and what graphs compute shapes with.

use super::{
    super::{
        array::{Array, Fitting, elements},
        graph::Node,
        refusal::Understood,
        value::Value,
    },
    Inputs, reduced_axes, reduced_shape, required,
};

/// The result of `node`, if its operator belongs here.
pub fn evaluate(node: &Node, inputs: &Inputs) -> Understood<Option<Value>> {
    let operator = node.operator.as_str();
    if let Some(f) = pointwise(node, inputs) {
        let x = required(node, inputs, 0)?.floats();
        return Ok(Some(Value::Float(x.map(|&v| f(v.into()) as f32))));
    }
    let result = match operator {
        "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Mod" | "Equal" | "Greater" | "GreaterOrEqual" | "Less"
        | "LessOrEqual" | "And" | "Or" => binary(operator, required(node, inputs, 0)?, required(node, inputs, 1)?),
        "Min" | "Max" | "Sum" => extreme(node, inputs),
        // Real numbers are dealt with above.
        "Neg" => required(node, inputs, 0)?.ints().map(|x| Value::Int(x.map(|&v| v.wrapping_neg()))),
        "Abs" => required(node, inputs, 0)?.ints().map(|x| Value::Int(x.map(|&v| v.wrapping_abs()))),
        "Not" => required(node, inputs, 0)?.ints().map(|x| Value::Int(x.map(|&v| i64::from(v == 0)))),
        "Where" => choose(node, inputs),
        "Cast" | "CastLike" => Ok(cast(node, inputs, required(node, inputs, 0)?)),
        "Shape" => shape_of(node, required(node, inputs, 0)?.shape()),
        "Size" => elements(required(node, inputs, 0)?.shape()).map(|n| Value::Int(Array::scalar(signed(n)))),
        "Range" => range(node, inputs),
        "ConstantOfShape" => constant_of_shape(node, inputs),
        "ReduceMean" | "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceProd" | "GlobalAveragePool"
        | "GlobalMaxPool" => reduce(node, inputs),
        "RandomNormalLike" | "RandomUniformLike" => {
            Ok(Value::Float(required(node, inputs, 0)?.floats().map(|_| node.float("mean").unwrap_or(0.0))))
        }
        "RandomNormal" | "RandomUniform" => random(node),
        _ => return Ok(None),
    };
    result.map(Some).map_err(|reason| node.misfit(reason))
}

fn signed(n: usize) -> i64 {
    n as i64
}

/// A function of one number.
type Function = Box<dyn Fn(f64) -> f64>;

/// The function of an operator that is applied to each element.
fn pointwise(node: &Node, inputs: &Inputs) -> Option<Function> {
    let float = |name, default| f64::from(node.float(name).unwrap_or(default));
    let function: Function = match node.operator.as_str() {
        "Relu" => Box::new(|x| x.max(0.0)),
        "LeakyRelu" => {
            let alpha = float("alpha", 0.01);
            Box::new(move |x| if x < 0.0 { alpha * x } else { x })
        }
        "Elu" => {
            let alpha = float("alpha", 1.0);
            Box::new(move |x| if x < 0.0 { alpha * (x.exp() - 1.0) } else { x })
        }
        "Selu" => {
            let (alpha, gamma) = (float("alpha", 1.673_263_2), float("gamma", 1.050_701));
            Box::new(move |x| gamma * if x <= 0.0 { alpha * (x.exp() - 1.0) } else { x })
        }
        "Celu" => {
            let alpha = float("alpha", 1.0);
            Box::new(move |x| x.max(0.0) + (alpha * ((x / alpha).exp() - 1.0)).min(0.0))
        }
        "Sigmoid" => Box::new(|x| 1.0 / (1.0 + (-x).exp())),
        "Tanh" => Box::new(f64::tanh),
        "Softplus" => Box::new(|x| x.max(0.0) + (-x.abs()).exp().ln_1p()),
        "HardSigmoid" => {
            let (alpha, beta) = (float("alpha", 0.2), float("beta", 0.5));
            Box::new(move |x| (alpha * x + beta).clamp(0.0, 1.0))
        }
        "Clip" => {
            let (min, max) = clip_bounds(node, inputs);
            Box::new(move |x| x.max(min.into()).min(max.into()))
        }
        "Exp" => Box::new(f64::exp),
        "Log" => Box::new(f64::ln),
        "Sqrt" => Box::new(f64::sqrt),
        "Reciprocal" => Box::new(f64::recip),
        "Neg" if !is_int(inputs) => Box::new(|x| -x),
        "Abs" if !is_int(inputs) => Box::new(f64::abs),
        "Floor" => Box::new(f64::floor),
        "Ceil" => Box::new(f64::ceil),
        "Round" => Box::new(f64::round_ties_even),
        _ => return None,
    };
    Some(function)
}

fn is_int(inputs: &Inputs) -> bool {
    matches!(inputs.first(), Some(Some(Value::Int(_))))
}

/// The bounds of a `Clip`, infinite where there are none.
pub fn clip_bounds(node: &Node, inputs: &Inputs) -> (f32, f32) {
    let bound = |name: &str, i: usize, default: f32| {
        let given = inputs.get(i).copied().flatten().and_then(|v| v.floats().data().first().copied());
        given.or(node.float(name)).unwrap_or(default)
    };
    (bound("min", 1, f32::NEG_INFINITY), bound("max", 2, f32::INFINITY))
}

fn binary(operator: &str, a: &Value, b: &Value) -> Fitting<Value> {
    let truth = |v: bool| i64::from(v);
    if let (Value::Int(a), Value::Int(b)) = (a, b) {
        let exponent = |b: i64| u32::try_from(b).unwrap_or_default();
        let f = |(a, b): (i64, i64)| match operator {
            "Add" => a.wrapping_add(b),
            "Sub" => a.wrapping_sub(b),
            "Mul" => a.wrapping_mul(b),
            "Div" => a.checked_div(b).unwrap_or_default(),
            "Mod" => a.checked_rem_euclid(b).unwrap_or_default(),
            "Pow" => a.wrapping_pow(exponent(b)),
            "Equal" => truth(a == b),
            "Greater" => truth(a > b),
            "GreaterOrEqual" => truth(a >= b),
            "Less" => truth(a < b),
            "LessOrEqual" => truth(a <= b),
            "And" => truth(a != 0 && b != 0),
            _ => truth(a != 0 || b != 0),
        };
        return Ok(Value::Int(a.zip(b, f)?));
    }
    let (a, b) = (a.floats(), b.floats());
    let compared = |f: fn(f32, f32) -> bool| Ok(Value::Int(a.zip(&b, |(a, b)| truth(f(a, b)))?));
    let computed = |f: fn(f32, f32) -> f32| Ok(Value::Float(a.zip(&b, |(a, b)| f(a, b))?));
    match operator {
        "Add" => computed(|a, b| a + b),
        "Sub" => computed(|a, b| a - b),
        "Mul" => computed(|a, b| a * b),
        "Div" => computed(|a, b| a / b),
        "Mod" => computed(|a, b| a % b),
        "Pow" => computed(f32::powf),
        "Equal" => compared(|a, b| a == b),
        "Greater" => compared(|a, b| a > b),
        "GreaterOrEqual" => compared(|a, b| a >= b),
        "Less" => compared(|a, b| a < b),
        "LessOrEqual" => compared(|a, b| a <= b),
        _ => Err("truth values of real numbers".into()),
    }
}

fn extreme(node: &Node, inputs: &Inputs) -> Fitting<Value> {
    let mut values = inputs.iter().flatten();
    let first = values.next().ok_or("has no inputs")?;
    if inputs.iter().flatten().all(|value| matches!(value, Value::Int(_))) {
        let f = |(a, b): (i64, i64)| match node.operator.as_str() {
            "Min" => a.min(b),
            "Max" => a.max(b),
            _ => a.wrapping_add(b),
        };
        let joint = values.try_fold(first.ints()?.clone(), |a, b| a.zip(b.ints()?, f))?;
        return Ok(Value::Int(joint));
    }
    let f = |(a, b): (f32, f32)| match node.operator.as_str() {
        "Min" => a.min(b),
        "Max" => a.max(b),
        _ => a + b,
    };
    values.try_fold(first.floats(), |a, b| a.zip(&b.floats(), f)).map(Value::Float)
}

fn choose(node: &Node, inputs: &Inputs) -> Fitting<Value> {
    let get = |i| required(node, inputs, i).map_err(|refusal| refusal.reason);
    let (condition, a, b) = (get(0)?.ints()?, get(1)?, get(2)?);
    if let (Value::Int(a), Value::Int(b)) = (a, b) {
        let pairs = a.zip(b, |pair| pair)?;
        return Ok(Value::Int(condition.zip(&pairs, |(c, (a, b))| if c != 0 { a } else { b })?));
    }
    let pairs = a.floats().zip(&b.floats(), |pair| pair)?;
    Ok(Value::Float(condition.zip(&pairs, |(c, (a, b))| if c != 0 { a } else { b })?))
}

fn cast(node: &Node, inputs: &Inputs, x: &Value) -> Value {
    let to_float = match inputs.get(1).copied().flatten() {
        Some(like) => matches!(like, Value::Float(_)),
        // f32, f16, f64, bf16.
        None => [1, 10, 11, 16].contains(&node.int("to").unwrap_or(1)),
    };
    let to_truth = node.int("to") == Some(9);
    match x {
        x if to_float => Value::Float(x.floats()),
        Value::Float(x) => Value::Int(x.map(|&v| if to_truth { i64::from(v != 0.0) } else { v as i64 })),
        Value::Int(x) => Value::Int(x.map(|&v| if to_truth { i64::from(v != 0) } else { v })),
    }
}

fn shape_of(node: &Node, shape: &[usize]) -> Fitting<Value> {
    let rank = signed(shape.len());
    let end = |name: &str, default: i64| {
        let at = node.int(name).unwrap_or(default);
        usize::try_from(if at < 0 { at + rank } else { at }.clamp(0, rank)).unwrap_or_default()
    };
    let (start, end) = (end("start", 0), end("end", rank));
    Ok(Value::Int(Array::vector(shape.get(start..end).unwrap_or_default().iter().map(|&n| signed(n)).collect())))
}

/// The shape of what is traced, as a constant.
pub fn shape_value(node: &Node, shape: &[usize]) -> Fitting<Value> {
    match node.operator.as_str() {
        "Size" => Ok(Value::Int(Array::scalar(signed(elements(shape)?)))),
        _ => shape_of(node, shape),
    }
}

fn range(node: &Node, inputs: &Inputs) -> Fitting<Value> {
    let get = |i| required(node, inputs, i).map_err(|refusal| refusal.reason);
    let number = |i| -> Fitting<f64> { Ok(get(i)?.floats().data().first().copied().ok_or("has no number")?.into()) };
    let (start, limit, delta) = (number(0)?, number(1)?, number(2)?);
    let n = ((limit - start) / delta).ceil().max(0.0);
    if !n.is_finite() {
        return Err("counts without an end".into());
    }
    let n = elements(&[n as usize])?;
    let at = |i: usize| start + i as f64 * delta;
    match get(0)? {
        Value::Int(_) => Ok(Value::Int(Array::vector((0..n).map(|i| at(i) as i64).collect()))),
        Value::Float(_) => Ok(Value::Float(Array::vector((0..n).map(|i| at(i) as f32).collect()))),
    }
}

fn constant_of_shape(node: &Node, inputs: &Inputs) -> Fitting<Value> {
    let shape = required(node, inputs, 0).map_err(|refusal| refusal.reason)?.ints()?.data().to_vec();
    let size = |n: i64| usize::try_from(n).map_err(|_| format!("a size of {n}"));
    let shape = shape.into_iter().map(size).collect::<Fitting<Vec<_>>>()?;
    match node.tensor("value").map_err(|refusal| refusal.reason)? {
        None => Array::filled(shape, 0.0).map(Value::Float),
        Some(Value::Float(v)) => Array::filled(shape, v.data().first().copied().unwrap_or_default()).map(Value::Float),
        Some(Value::Int(v)) => Array::filled(shape, v.data().first().copied().unwrap_or_default()).map(Value::Int),
    }
}

fn random(node: &Node) -> Fitting<Value> {
    let size = |&n: &i64| usize::try_from(n).map_err(|_| format!("a size of {n}"));
    let shape = node.ints("shape").unwrap_or_default().iter().map(size).collect::<Fitting<Vec<_>>>()?;
    Array::filled(shape, node.float("mean").unwrap_or(0.0)).map(Value::Float)
}

fn reduce(node: &Node, inputs: &Inputs) -> Fitting<Value> {
    let x = required(node, inputs, 0).map_err(|refusal| refusal.reason)?;
    let axes = reduced_axes(node, inputs, x.shape().len())?;
    let (f, start): (fn(f64, f64) -> f64, f64) = match node.operator.as_str() {
        "ReduceMax" | "GlobalMaxPool" => (f64::max, f64::NEG_INFINITY),
        "ReduceMin" => (f64::min, f64::INFINITY),
        "ReduceProd" => (|a, b| a * b, 1.0),
        _ => (|a, b| a + b, 0.0),
    };
    let over: usize = axes.iter().map(|&axis| x.shape()[axis]).product();
    let share = if node.operator.contains("Mean") || node.operator.contains("Average") { over as f64 } else { 1.0 };
    let groups = groups(x.shape(), &axes);
    let floats = x.floats();
    let mut results = vec![start; groups.iter().max().map_or(0, |last| last + 1)];
    for (&group, &value) in groups.iter().zip(floats.data()) {
        results[group] = f(results[group], value.into());
    }
    let shape = reduced_shape(node, x.shape(), &axes);
    match x {
        Value::Int(_) => Array::new(shape, results.iter().map(|&v| v as i64).collect()).map(Value::Int),
        Value::Float(_) => Array::new(shape, results.iter().map(|&v| (v / share) as f32).collect()).map(Value::Float),
    }
}

/// For each element of an array of `shape` the position of what a reduction over `axes` makes of it.
pub fn groups(shape: &[usize], axes: &[usize]) -> Vec<usize> {
    let mut position = vec![0; shape.len()];
    (0..shape.iter().product())
        .map(|_| {
            let kept = position.iter().zip(shape).enumerate().filter(|(axis, _)| !axes.contains(axis));
            let group = kept.fold(0, |flat, (_, (at, size))| flat * size + at);
            super::super::array::advance(&mut position, shape);
            group
        })
        .collect()
}
