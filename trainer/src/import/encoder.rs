//! The end of an encoder: which outputs are means and log-variances, and the one linear layer that gives both.

use super::{
    array::Array,
    graph::{Graph, Node},
    refusal::Understood,
    trace::{Element, INPUT, Stage, Symbol, Traced, Tracer, size},
    value::Value,
};
use crate::model::{Activation, Layer, Shape};

/// Where means or log-variances are found among the graph's outputs.
#[derive(Debug, Clone)]
pub struct Head {
    /// The output's name; nothing where the graph does not give them as they are.
    pub output: Option<String>,
    /// The part of the output's numbers.
    part: Part,
    form: Form,
    /// The range that the graph holds them in, which is left out.
    clipped: Option<(f32, f32)>,
    elements: Vec<Element>,
    nodes: Vec<String>,
}

/// How log-variances, or means, follow from an output's numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    /// They are the same.
    Same,
    /// Twice them: ln σ.
    Twice,
    /// Their logarithms, times this: σ² or σ.
    Logarithm(f32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    All,
    FirstHalf,
    SecondHalf,
}

impl Part {
    fn of<T>(self, values: &[T]) -> &[T] {
        match self {
            Self::All => values,
            Self::FirstHalf => &values[..values.len() / 2],
            Self::SecondHalf => &values[values.len() / 2..],
        }
    }
}

impl Head {
    fn new(output: Option<&str>, traced: &Traced, part: Part) -> Self {
        let elements = part.of(traced.elements.data()).to_vec();
        let (output, nodes) = (output.map(str::to_owned), traced.nodes.clone());
        Self { output, part, form: Form::Same, clipped: None, elements, nodes }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.elements.len()
    }

    /// The means or log-variances in the output `value` of the graph.
    pub fn read(&self, value: &Value) -> Vec<f32> {
        let values = value.floats();
        let read = |&v: &f32| match self.form {
            Form::Same => v,
            Form::Twice => 2.0 * v,
            Form::Logarithm(factor) => factor * v.ln(),
        };
        self.part.of(values.data()).iter().map(read).collect()
    }

    /// `value` held in the range that the graph holds it in.
    pub fn clip(&self, value: f32) -> f32 {
        self.clipped.map_or(value, |(min, max)| value.clamp(min, max))
    }
}

/// Means, and log-variances where the graph has them.
#[derive(Debug)]
pub struct Heads {
    /// The means.
    pub mean: Head,
    /// The log-variances.
    pub log_var: Option<Head>,
}

/// What the caller knows of an encoder's outputs.
#[derive(Debug, Clone, Default)]
pub struct Hints {
    /// The output that gives the means.
    pub mean: Option<String>,
    /// The output that gives the log-variances.
    pub log_var: Option<String>,
    /// The number of latents.
    pub latents: Option<usize>,
}

/// What an output's name and what it is made of say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Mean,
    LogVar,
    LogDeviation,
    /// σ or σ² itself.
    Spread,
    Unknown,
}

impl Role {
    /// `z_log_var`, `logvar`, `log_sigma`, `mu` and their like.
    fn of(name: &str) -> Self {
        let name: String = name.to_lowercase().chars().filter(char::is_ascii_alphanumeric).collect();
        let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
        if has(&["logvar", "lnvar", "logsigma2", "logsigmasq", "logs2"]) {
            Self::LogVar
        } else if has(&["logsigma", "logstd", "logscale"]) {
            Self::LogDeviation
        } else if has(&["mean", "mu", "loc"]) {
            Self::Mean
        } else if has(&["sigma", "std", "variance"]) || ["var", "zvar"].contains(&name.as_str()) {
            Self::Spread
        } else {
            Self::Unknown
        }
    }
}

/// Finds means and log-variances among the outputs of `graph`; says in `notes` what was decided.
///
/// # Errors
/// What the outputs are cannot be told; the text says how to say it.
pub fn heads(graph: &Graph, tracer: &Tracer, hints: &Hints, notes: &mut Vec<String>) -> Result<Heads, String> {
    let find = |name: &String| {
        let found = graph.outputs.iter().find(|output| *output == name);
        found.ok_or_else(|| format!("no output {name}; there are {}", graph.outputs.join(", ")))
    };
    let (mean, log_var) = (hints.mean.as_ref().map(find).transpose()?, hints.log_var.as_ref().map(find).transpose()?);
    let candidates: Vec<_> =
        graph.outputs.iter().filter_map(|name| Some((name.as_str(), tracer.symbol(name)?))).collect();
    let named = |wanted: Option<&String>| wanted.and_then(|wanted| candidates.iter().find(|(name, _)| name == wanted));
    // A sample is what the network makes of means and log-variances that it may also give by themselves.
    let plain: Vec<_> = candidates.iter().filter(|(_, symbol)| !matches!(symbol, Symbol::Sample(..))).collect();
    let role = |&&&(name, symbol): &&&(&str, &Symbol)| match symbol {
        Symbol::Exponential(_) => Role::LogVar,
        _ => Role::of(name),
    };
    let is_log_var =
        |candidate: &&&(&str, &Symbol)| matches!(role(candidate), Role::LogVar | Role::LogDeviation | Role::Spread);
    let mean_output = named(mean)
        .or_else(|| plain.iter().find(|c| role(c) == Role::Mean).copied())
        .or_else(|| plain.iter().find(|c| !is_log_var(c)).copied())
        .or_else(|| candidates.iter().find(|(_, symbol)| matches!(symbol, Symbol::Sample(..))));
    let Some(&(name, symbol)) = mean_output else { return Err("no output that could be the means".into()) };
    let others: Vec<_> = plain.iter().filter(|(other, _)| *other != name).copied().collect();
    let log_var_output = named(log_var)
        .or_else(|| others.iter().find(|c| is_log_var(c)).copied())
        .or_else(|| others.first().copied().filter(|_| hints.mean.is_none()));
    let unclear = others.len() > 1 && hints.mean.is_none() && !others.iter().any(|c| is_log_var(&c));
    if unclear {
        let expected = "say which are which with --mean NAME and --log-var NAME";
        return Err(format!("outputs {}; {expected}", graph.outputs.join(", ")));
    }
    let (mean, inner) = match symbol {
        Symbol::Traced(traced) => (Head::new(Some(name), traced, Part::All), None),
        Symbol::Sample(mean, spread) => {
            notes.push(format!("{name} is a sample of the posterior: cut at its mean"));
            (Head::new(Some(name), mean, Part::All), spread.as_ref())
        }
        Symbol::Unknown(refusal) => {
            return Err(format!(
                "output {name} with node {} ({}), which {}",
                refusal.node, refusal.operator, refusal.reason
            ));
        }
        _ => return Err(format!("output {name} is no linear function of a layer; expected the means")),
    };
    let log_var = match (log_var_output, inner) {
        (Some(&(name, Symbol::Traced(traced))), _) if log_var.is_some() => {
            Some(Head::new(Some(name), traced, Part::All))
        }
        (Some(&(name, symbol)), _) => Some(log_var_head(name, symbol, notes)?),
        // σ² = e^(2 · ln σ).
        (None, Some(log_deviation)) => {
            let mut head = Head::new(None, log_deviation, Part::All);
            head.elements.iter_mut().for_each(|element| *element = element.affine(2.0, 0.0));
            Some(head)
        }
        (None, None) => None,
    };
    let heads = match (log_var, hints.latents) {
        (None, Some(latents)) if mean.len() == 2 * latents => {
            notes.push(format!(
                "{name} has {0} numbers for {latents} latents: means first, then log-variances",
                mean.len()
            ));
            halves(name, symbol).unwrap_or(Heads { mean, log_var: None })
        }
        (log_var, _) => Heads { mean, log_var },
    };
    if heads.log_var.is_none() {
        notes.push("no log-variances: taken as 0 (σ = 1) wherever they are asked for".into());
    }
    let n = heads.mean.len();
    if let Some(log_var) = heads.log_var.as_ref().filter(|log_var| log_var.len() != n) {
        return Err(format!(
            "{n} means and {} log-variances; say which outputs to take with --mean and --log-var",
            log_var.len()
        ));
    }
    if let Some(latents) = hints.latents.filter(|&latents| latents != n) {
        return Err(format!("{n} means, expected {latents} latents"));
    }
    Ok(heads)
}

fn halves(name: &str, symbol: &Symbol) -> Option<Heads> {
    let Symbol::Traced(traced) = symbol else { return None };
    let half = |part| Head::new(Some(name), traced, part);
    Some(Heads { mean: half(Part::FirstHalf), log_var: Some(half(Part::SecondHalf)) })
}

fn log_var_head(name: &str, symbol: &Symbol, notes: &mut Vec<String>) -> Result<Head, String> {
    match (symbol, Role::of(name)) {
        (Symbol::Traced(traced), Role::LogDeviation) => {
            notes.push(format!("{name} is taken as ln σ, half of the log-variance"));
            let elements = traced.elements.map(|element| element.affine(2.0, 0.0));
            let head = Head::new(Some(name), &Traced { elements, nodes: traced.nodes.clone() }, Part::All);
            Ok(Head { form: Form::Twice, ..head })
        }
        (Symbol::Traced(_), Role::Spread) => Err(format!(
            "output {name}, a deviation or variance that is no e to the power of a layer; pass --log-var {name} if it is its \
             logarithm, or --mean NAME to take the means alone"
        )),
        (Symbol::Traced(traced), role) => {
            if role == Role::Unknown {
                notes.push(format!("{name} is taken as the log-variances"));
            }
            Ok(Head::new(Some(name), traced, Part::All))
        }
        (Symbol::Exponential(logarithm), _) => {
            let is_variance = name.to_lowercase().contains("var");
            let factor = if is_variance { 1.0 } else { 2.0 };
            notes.push(format!("{name} is taken as the {}", if is_variance { "variances" } else { "deviations σ" }));
            let elements = logarithm.elements.map(|element| element.affine(factor, 0.0));
            let head = Head::new(Some(name), &Traced { elements, nodes: logarithm.nodes.clone() }, Part::All);
            Ok(Head { form: Form::Logarithm(factor), ..head })
        }
        _ => Err(format!("output {name} cannot be log-variances; pass --mean NAME to take the means alone")),
    }
}

/// Adds the linear layer that gives all means, then all log-variances; returns its stage.
///
/// # Errors
/// They do not come from one layer.
pub fn code(tracer: &mut Tracer, node: &Node, heads: &mut Heads, notes: &mut Vec<String>) -> Understood<usize> {
    if let Some(head) = &mut heads.log_var {
        unclip(tracer, head, notes);
    }
    let mut elements = heads.mean.elements.clone();
    let mut nodes = heads.mean.nodes.clone();
    match &heads.log_var {
        Some(head) => {
            elements.extend(&head.elements);
            nodes.extend(head.nodes.iter().cloned());
        }
        None => elements.extend(vec![Element::constant(0.0); heads.mean.len()]),
    }
    let mut ids: Vec<usize> = elements.iter().filter_map(|e| Some(e.source?.0 as usize)).collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() {
        return node.refuse("gives constants", "means that depend on the image");
    }
    let through = |&id: &usize| {
        let stage = &tracer.stages[id];
        stage.has_weights() && stage.activation() == Activation::Identity
    };
    // Layers without a function are taken into the last one, if that leads to one place.
    let deep = ids.iter().all(through);
    let bases: Vec<usize> = ids.iter().map(|&id| if deep { tracer.stages[id].source } else { id }).collect();
    let (base, starts) = join_all(tracer, &bases).ok_or_else(|| {
        node.refusal(
            "takes means and log-variances from branches of different kinds",
            "two heads on one layer, or branches of linear layers with the same functions",
        )
    })?;
    let (inputs, outputs) = (tracer.stages[base].size(), elements.len());
    let mut weight = vec![0.0; inputs * outputs];
    let mut bias = vec![0.0; outputs];
    for (o, element) in elements.iter().enumerate() {
        bias[o] = element.offset;
        let Some((id, index)) = element.source.map(|(id, index)| (id as usize, index as usize)) else { continue };
        let Some(which) = ids.iter().position(|&other| other == id) else { continue };
        let row = &mut weight[o * inputs + starts[which]..];
        if deep {
            let source = tracer.stages[bases[which]].output;
            let Some((values, own)) = tracer.stages[id].row(index, source) else { continue };
            row.iter_mut().zip(values).for_each(|(to, value)| *to = element.scale * value);
            bias[o] += element.scale * own;
        } else if let Some(to) = row.get_mut(index) {
            *to = element.scale;
        }
    }
    let mut origins: Vec<String> = Vec::new();
    if deep {
        ids.iter().for_each(|&id| origins.extend(tracer.stages[id].nodes.iter().cloned()));
    }
    origins.extend(nodes);
    let mut seen = std::collections::BTreeSet::new();
    origins.retain(|node| seen.insert(node.clone()));
    let layer = Layer::Linear { in_features: inputs, out_features: outputs, activation: Activation::Identity };
    let output = Shape::Features(outputs);
    tracer.stages.push(Stage { source: base, layer: Some(layer), weight, bias, output, nodes: origins });
    Ok(tracer.stages.len() - 1)
}

/// Takes away a clipping behind log-variances, which guards sampling and has no place in the last layer.
fn unclip(tracer: &mut Tracer, head: &mut Head, notes: &mut Vec<String>) {
    let mut ids = head.elements.iter().filter_map(|element| Some(element.source?.0 as usize));
    let Some(id) = ids.next() else { return };
    let stage = &tracer.stages[id];
    let (Activation::Clip { min, max }, true) = (stage.activation(), ids.all(|other| other == id)) else { return };
    let factor = head.elements.first().map_or((1.0, 0.0), |element| (element.scale, element.offset));
    tracer.stages.push(stage.with_activation(Activation::Identity));
    let copy = tracer.stages.len() - 1;
    for element in &mut head.elements {
        if let Some(index) = element.index() {
            *element = Element::of(copy, index).affine(element.scale, element.offset);
        }
    }
    let [a, b] = [min, max].map(|bound| factor.0.mul_add(bound, factor.1));
    head.clipped = Some((a.min(b), a.max(b)));
    notes.push(format!("log-variances are not held in {}..{} any more", a.min(b), a.max(b)));
}

/// One stage that has the outputs of all `ids`, and where each one's begin.
fn join_all(tracer: &mut Tracer, ids: &[usize]) -> Option<(usize, Vec<usize>)> {
    let (&first, rest) = ids.split_first()?;
    let (mut base, mut starts) = (first, vec![0]);
    for &id in rest {
        if id == base {
            starts.push(0);
            continue;
        }
        if let Some(same) = ids[..starts.len()].iter().position(|&other| other == id) {
            starts.push(starts[same]);
            continue;
        }
        let (joint, first, second) = join(tracer, base, id)?;
        starts.iter_mut().for_each(|start| *start += first);
        starts.push(second);
        base = joint;
    }
    Some((base, starts))
}

/// A stage that has the outputs of `a` and of `b`, and where each one's begin: side by side, a block each.
fn join(tracer: &mut Tracer, a: usize, b: usize) -> Option<(usize, usize, usize)> {
    if a == b {
        return Some((a, 0, 0));
    }
    let [one, other] = [a, b].map(|id| tracer.stages[id].clone());
    let joins =
        a != INPUT && b != INPUT && one.is_linear() && other.is_linear() && one.activation() == other.activation();
    if !joins {
        return None;
    }
    let (source, first, second) = join(tracer, one.source, other.source)?;
    let inputs = size(tracer.stages[source].output);
    let (n, m) = (one.size(), other.size());
    let mut weight = vec![0.0; (n + m) * inputs];
    for (part, start, row) in [(&one, first, 0), (&other, second, n)] {
        let width = part.weight.len() / part.size().max(1);
        for (i, values) in part.weight.chunks_exact(width.max(1)).enumerate() {
            let at = (row + i) * inputs + start;
            weight[at..at + width].copy_from_slice(values);
        }
    }
    let layer = Layer::Linear { in_features: inputs, out_features: n + m, activation: one.activation() };
    let bias = [&one.bias[..], &other.bias[..]].concat();
    let nodes = [&one.nodes[..], &other.nodes[..]].concat();
    let output = Shape::Features(n + m);
    tracer.stages.push(Stage { source, layer: Some(layer), weight, bias, output, nodes });
    Some((tracer.stages.len() - 1, 0, n))
}

/// The elements that are fed: `order` says for each its position in the image, `factor` what is done with a pixel of a channel.
pub fn input(order: &Array<usize>, pixels_of_channel: usize, factor: impl Fn(usize) -> (f32, f32)) -> Array<Element> {
    order.map(|&index| {
        let (scale, offset) = factor(index / pixels_of_channel);
        Element::of(INPUT, index).affine(scale, offset)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_outputs_are() {
        for (name, role) in [
            ("z_mean", Role::Mean),
            ("mu", Role::Mean),
            ("z_log_var", Role::LogVar),
            ("logvar", Role::LogVar),
            ("Log-Sigma", Role::LogDeviation),
            ("sigma", Role::Spread),
            ("z_std", Role::Spread),
            ("241", Role::Unknown),
        ] {
            assert_eq!(Role::of(name), role, "{name}");
        }
    }
}
