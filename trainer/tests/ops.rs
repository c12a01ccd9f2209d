//! The fused layers against candle's own, against their device-neutral form and against finite differences.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Tensor, Var};
use proptest::prelude::*;
use unbraid_trainer::{
    model::{Activation, ImageShape, Layer, Padding, Shape, Window},
    nn::{
        AdamOptions, Network,
        ops::{self, adam::adam_update, neutral},
        to_channels_first, to_channels_last,
    },
    rng::{self, Purpose},
};

fn random(shape: &[usize], seed: u64) -> Var {
    let values = rng::normals(&mut rng::stream(seed, Purpose::Report, 0), shape.iter().product());
    Var::from_tensor(&Tensor::from_vec(values, shape, &Device::Cpu).unwrap()).unwrap()
}

fn assert_close(what: &str, a: &Tensor, b: &Tensor) {
    assert_eq!(a.dims(), b.dims(), "{what}");
    let scale = b.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap().max(1.0);
    let difference = (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
    assert!(difference <= 2e-5 * scale, "{what}: differs by {difference}, values up to {scale}");
}

/// A network of one layer, or of several.
fn network(layers: &[Layer], weights: &[&Var]) -> Network {
    let with_weights = (0..layers.len()).filter(|&i| layers[i].parameters().is_some());
    let names = with_weights.flat_map(|i| [format!("net.{i}.weight"), format!("net.{i}.bias")]);
    let tensors: BTreeMap<_, _> = names.zip(weights.iter().map(|w| w.as_tensor().clone())).collect();
    Network::from_tensors("net", layers, &tensors, &Device::Cpu).unwrap()
}

const NAMES: [&str; 4] = ["output", "input gradient", "weight gradient", "bias gradient"];

/// Output and gradients of the sum of squares of `f` for three variables.
fn with_gradients(vars: [&Var; 3], f: impl Fn(&Tensor, &Tensor, &Tensor) -> Result<Tensor>) -> Vec<Tensor> {
    let out = f(vars[0], vars[1], vars[2]).unwrap();
    let gradients = out.sqr().unwrap().sum_all().unwrap().backward().unwrap();
    let mut all = vec![out.detach()];
    all.extend(vars.iter().map(|var| gradients.get(var).expect("a gradient for each input").clone()));
    all
}

/// The same of a layer as the trainer runs it.
fn ours(layer: Layer, [x, w, b]: [&Var; 3]) -> Vec<Tensor> {
    let network = network(&[layer], &[w, b]);
    let out = network.forward(x).unwrap();
    let store = out.sqr().unwrap().sum_all().unwrap().backward().unwrap();
    let mut all = vec![out.detach(), store.get(x).expect("a gradient for the input").clone()];
    all.extend(network.take_gradients(&store).unwrap());
    all
}

fn compare(a: &[Tensor], b: &[Tensor]) {
    assert_eq!(a.len(), b.len());
    NAMES.iter().zip(a.iter().zip(b)).for_each(|(name, (a, b))| assert_close(name, a, b));
}

fn activations() -> impl Strategy<Value = Activation> {
    prop_oneof![
        Just(Activation::Identity),
        Just(Activation::Relu),
        Just(Activation::LeakyRelu(0.2)),
        Just(Activation::Elu(0.7)),
        Just(Activation::Tanh),
        Just(Activation::Sigmoid),
        Just(Activation::Softplus),
        Just(Activation::HardSigmoid { alpha: 0.2, beta: 0.5 }),
        Just(Activation::Clip { min: -0.5, max: 1.5 }),
    ]
}

/// Another kernel, stride and padding along each axis and on each side.
fn windows() -> impl Strategy<Value = Window> {
    let axis =
        (1_usize..5, 1_usize..4).prop_flat_map(|(kernel, stride)| (Just(kernel), Just(stride), 0..kernel, 0..kernel));
    (axis.clone(), axis).prop_map(|((ky, sy, top, bottom), (kx, sx, left, right))| Window {
        kernel: [ky, kx],
        stride: [sy, sx],
        padding: Padding { top, left, bottom, right },
    })
}

fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    match activation {
        Activation::Identity => Ok(x.clone()),
        Activation::Relu => x.relu(),
        Activation::LeakyRelu(slope) => candle_nn::ops::leaky_relu(x, f64::from(slope)),
        Activation::Elu(alpha) => x.elu(alpha.into()),
        Activation::Tanh => x.tanh(),
        Activation::Sigmoid => candle_nn::ops::sigmoid(x),
        Activation::Softplus => (x.exp()? + 1.0)?.log(),
        Activation::HardSigmoid { alpha, beta } => ((x * f64::from(alpha))? + f64::from(beta))?.clamp(0_f32, 1_f32),
        Activation::Clip { min, max } => x.clamp(min, max),
    }
}

/// candle's convolution of `(N, C, H, W)`, which knows strides and paddings that are the same everywhere: of padded images, from which
/// every stride-th value is taken.
fn candle_conv2d(x: &Tensor, w: &Tensor, Window { stride: [sy, sx], padding, .. }: Window) -> Result<Tensor> {
    let x = x.pad_with_zeros(2, padding.top, padding.bottom)?.pad_with_zeros(3, padding.left, padding.right)?;
    let y = x.conv2d(w, 0, 1, 1, 1)?;
    let every = |size: usize, stride: usize| -> Result<Tensor> {
        Tensor::from_iter((0..size as u32).step_by(stride), &Device::Cpu)
    };
    y.index_select(&every(y.dim(2)?, sy)?, 2)?.index_select(&every(y.dim(3)?, sx)?, 3)
}

/// The transposed convolution by its definition: each cell adds its share of the kernel to the image.
fn scattered(x: &Tensor, w: &Tensor, window: Window, [height, width]: [usize; 2]) -> Tensor {
    let [x, w] = [x, w].map(|t| t.to_dtype(DType::F64).unwrap());
    let (n, rows, columns, channels) = x.dims4().unwrap();
    let (_, out, ky, kx) = w.dims4().unwrap();
    let [x, w] = [x, w].map(|t| t.flatten_all().unwrap().to_vec1::<f64>().unwrap());
    let mut y = vec![0.0; n * height * width * out];
    let place = |axis: usize, cell: usize, k: usize, size: usize| {
        (cell * window.stride[axis] + k).checked_sub(window.padding.before()[axis]).filter(|&p| p < size)
    };
    for (image, row, column) in (0..n).flat_map(|i| (0..rows).flat_map(move |r| (0..columns).map(move |c| (i, r, c)))) {
        for (dy, dx) in (0..ky).flat_map(|dy| (0..kx).map(move |dx| (dy, dx))) {
            let (Some(py), Some(px)) = (place(0, row, dy, height), place(1, column, dx, width)) else { continue };
            for (c, o) in (0..channels).flat_map(|c| (0..out).map(move |o| (c, o))) {
                y[((image * height + py) * width + px) * out + o] += x
                    [((image * rows + row) * columns + column) * channels + c]
                    * w[((c * out + o) * ky + dy) * kx + dx];
            }
        }
    }
    Tensor::from_vec(y, (n, height, width, out), &Device::Cpu).unwrap().to_dtype(DType::F32).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn conv2d_is_candles(
        window in windows(), activation in activations(),
        n in 1_usize..10, height in 5_usize..9, width in 5_usize..9, channels in 1_usize..6, out in 1_usize..5, seed in 0_u64..1000,
    ) {
        let x = random(&[n, height, width, channels], seed);
        let w = random(&[out, channels, window.kernel[0], window.kernel[1]], seed + 1);
        let b = random(&[out], seed + 2);
        let candle = |x: &Tensor, w: &Tensor, b: &Tensor| {
            let y = candle_conv2d(&to_channels_first(x)?, w, window)?;
            to_channels_last(&activate(&y.broadcast_add(&b.reshape((1, out, 1, 1))?)?, activation)?)
        };
        let ours = ours(Layer::conv2d(channels, out, window, activation), [&x, &w, &b]);
        compare(&ours, &with_gradients([&x, &w, &b], |x, w, b| neutral::conv2d(x, w, b, window, activation)));
        compare(&ours, &with_gradients([&x, &w, &b], candle));
    }

    #[test]
    fn conv_transpose2d_is_its_definition(
        window in windows(), more in (0_usize..3, 0_usize..3), activation in activations(),
        n in 1_usize..10, height in 2_usize..6, width in 2_usize..6, channels in 1_usize..4, out in 1_usize..6, seed in 0_u64..1000,
    ) {
        let output_padding = [more.0.min(window.stride[0] - 1), more.1.min(window.stride[1] - 1)];
        let Ok(size) = window.pixels([height, width], output_padding) else { return Err(TestCaseError::reject("empty")) };
        let x = random(&[n, height, width, channels], seed);
        let w = random(&[channels, out, window.kernel[0], window.kernel[1]], seed + 1);
        let b = random(&[out], seed + 2);
        let Window { kernel, stride, padding } = window;
        let layer = Layer::ConvTranspose2d {
            in_channels: channels, out_channels: out, kernel, stride, padding, output_padding, activation,
        };
        let ours = ours(layer, [&x, &w, &b]);
        let expected = activate(&scattered(&x, &w, window, size).broadcast_add(&b).unwrap(), activation).unwrap();
        assert_close("output", &ours[0], &expected);
        // The gradients are held against the neutral form, which is made of differentiable basics.
        let neutral = |x: &Tensor, w: &Tensor, b: &Tensor| {
            neutral::conv_transpose2d(x, w, b, (window, output_padding), activation)
        };
        compare(&ours, &with_gradients([&x, &w, &b], neutral));
    }

    #[test]
    fn linear_is_candles(activation in activations(), n in 1_usize..9, features in 1_usize..40, out in 1_usize..40, seed in 0_u64..1000) {
        let (x, w, b) = (random(&[n, features], seed), random(&[out, features], seed + 1), random(&[out], seed + 2));
        let candle = |x: &Tensor, w: &Tensor, b: &Tensor| activate(&x.matmul(&w.t()?)?.broadcast_add(b)?, activation);
        let candle = with_gradients([&x, &w, &b], candle);
        compare(&ours(Layer::Linear { in_features: features, out_features: out, activation }, [&x, &w, &b]), &candle);
        compare(&with_gradients([&x, &w, &b], |x, w, b| neutral::linear(x, w, b, activation)), &candle);
    }
}

/// Output and input gradient of the sum of squares of a layer without weights, as the trainer runs it.
fn ours_unweighted(layer: Layer, x: &Var) -> [Tensor; 2] {
    let out = network(&[layer], &[]).forward(x).unwrap();
    let store = out.sqr().unwrap().sum_all().unwrap().backward().unwrap();
    [out.detach(), store.get(x).expect("a gradient for the input").clone()]
}

/// The same of `f`.
fn theirs_unweighted(x: &Var, f: impl Fn(&Tensor) -> Result<Tensor>) -> [Tensor; 2] {
    let out = f(x).unwrap();
    let store = out.sqr().unwrap().sum_all().unwrap().backward().unwrap();
    [out.detach(), store.get(x).expect("a gradient for the input").clone()]
}

fn compare_unweighted(ours: &[Tensor; 2], theirs: &[Tensor; 2]) {
    NAMES.iter().zip(ours.iter().zip(theirs)).for_each(|(name, (a, b))| assert_close(name, a, b));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn max_pool_is_candles(
        window in windows(), n in 1_usize..5, height in 4_usize..9, width in 4_usize..9, channels in 1_usize..4, seed in 0_u64..1000,
    ) {
        let layer = Layer::max_pool(window);
        let image = ImageShape { channels, height, width };
        prop_assume!(layer.output(Shape::Image(image)).is_ok());
        let x = random(&[n, height, width, channels], seed);
        let ours = ours_unweighted(layer, &x);
        compare_unweighted(&ours, &theirs_unweighted(&x, |x| neutral::max_pool(x, window)));
        // candle's own gradient counts each winner as 1/kernel²; that of the neutral form is made of comparisons and choices.
        let Padding { top, left, bottom, right } = window.padding;
        let low = |x: Tensor| -> Result<Tensor> { (x + 100.0)?.pad_with_zeros(2, top, bottom)?.pad_with_zeros(3, left, right)? - 100.0 };
        let padded = low(to_channels_first(&x).unwrap()).unwrap();
        let [kernel, stride] = [window.kernel, window.stride].map(|[vertical, horizontal]| (vertical, horizontal));
        let candle = to_channels_last(&padded.max_pool2d_with_stride(kernel, stride).unwrap());
        assert_close("output", &ours[0], &candle.unwrap());
    }

    #[test]
    fn upsample_nearest_is_candles(
        factor in (1_usize..4, 1_usize..4), n in 1_usize..5, height in 1_usize..5, width in 1_usize..5, channels in 1_usize..4,
        seed in 0_u64..1000,
    ) {
        let factor = [factor.0, factor.1];
        let x = random(&[n, height, width, channels], seed);
        let ours = ours_unweighted(Layer::UpsampleNearest { factor }, &x);
        let candle = |x: &Tensor| {
            to_channels_last(&to_channels_first(x)?.upsample_nearest2d(height * factor[0], width * factor[1])?)
        };
        compare_unweighted(&ours, &theirs_unweighted(&x, |x| neutral::upsample_nearest(x, factor)));
        // candle's own gradient is for the same factor along both axes.
        if factor[0] == factor[1] {
            compare_unweighted(&ours, &theirs_unweighted(&x, candle));
        } else {
            assert_close("output", &ours[0], &candle(&x).unwrap());
        }
    }
}

/// Behind a ReLU many values of a window are equal; of a NaN the loss has to hear.
#[test]
fn max_pool_gives_ties_to_the_first_and_keeps_nan() {
    let window = Window::square(2, 2, 0);
    let layer = Layer::max_pool(window);
    let x = Var::new(&[[[[1_f32], [3.0]], [[3.0], [3.0]]]], &Device::Cpu).unwrap();
    for [out, gradient] in [ours_unweighted(layer, &x), theirs_unweighted(&x, |x| neutral::max_pool(x, window))] {
        assert_eq!(out.flatten_all().unwrap().to_vec1::<f32>().unwrap(), [3.0]);
        assert_eq!(gradient.flatten_all().unwrap().to_vec1::<f32>().unwrap(), [0.0, 6.0, 0.0, 0.0]);
    }
    for place in 0..4 {
        let mut values = [1.0, 2.0, 3.0, 4.0];
        values[place] = f32::NAN;
        let x = Var::from_tensor(&Tensor::from_slice(&values, (1, 2, 2, 1), &Device::Cpu).unwrap()).unwrap();
        for [out, _] in [ours_unweighted(layer, &x), theirs_unweighted(&x, |x| neutral::max_pool(x, window))] {
            assert!(out.flatten_all().unwrap().to_vec1::<f32>().unwrap()[0].is_nan(), "NaN at {place}");
        }
    }
}

/// The gradients that training relies on, without trusting anyone's backward pass.
#[test]
fn gradients_are_those_of_finite_differences() {
    // Without a kink, which a difference would meet where there are so many outputs.
    let activation = Activation::Elu(1.0);
    let window = Window { kernel: [4, 3], stride: [2, 1], padding: Padding { top: 1, left: 0, bottom: 2, right: 1 } };
    let Window { kernel, stride, padding } = window;
    let output_padding = [1, 0];
    let linear = |name, activation| -> (&str, Layer, &[&[usize]]) {
        (name, Layer::Linear { in_features: 7, out_features: 5, activation }, &[&[3, 7], &[5, 7], &[5]])
    };
    let cases: [(&str, Layer, &[&[usize]]); 9] = [
        ("conv2d", Layer::conv2d(2, 3, window, activation), &[&[2, 6, 6, 2], &[3, 2, 4, 3], &[3]]),
        (
            "conv_transpose2d",
            Layer::ConvTranspose2d {
                in_channels: 3,
                out_channels: 2,
                kernel,
                stride,
                padding,
                output_padding,
                activation,
            },
            &[&[2, 3, 3, 3], &[3, 2, 4, 3], &[2]],
        ),
        linear("linear, leaky ReLU", Activation::LeakyRelu(0.1)),
        linear("linear, tanh", Activation::Tanh),
        linear("linear, sigmoid", Activation::Sigmoid),
        linear("linear, softplus", Activation::Softplus),
        linear("linear, ELU", Activation::Elu(0.6)),
        ("max_pool", Layer::max_pool(Window { kernel: [3, 2], stride: [2, 2], padding }), &[&[2, 7, 6, 2]]),
        ("upsample_nearest", Layer::UpsampleNearest { factor: [2, 3] }, &[&[2, 2, 3, 2]]),
    ];
    for (name, layer, shapes) in cases {
        let vars: Vec<Var> = shapes.iter().zip(5..).map(|(shape, seed)| random(shape, seed)).collect();
        let run = |vars: &[Var]| {
            let network = network(&[layer], &vars[1..].iter().collect::<Vec<_>>());
            let loss = network.forward(&vars[0]).unwrap().sin().unwrap().sum_all().unwrap();
            (network, loss)
        };
        let (network, loss) = run(&vars);
        let store = loss.backward().unwrap();
        let mut gradients = vec![store.get(&vars[0]).unwrap().clone()];
        if layer.parameters().is_some() {
            gradients.extend(network.take_gradients(&store).unwrap());
        }
        for (v, var) in vars.iter().enumerate() {
            let analytic = gradients[v].flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let values = var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            for i in (0..values.len()).step_by(values.len().div_ceil(12)) {
                let nudged = |by: f32| {
                    let mut values = values.clone();
                    values[i] += by;
                    let mut vars = vars.clone();
                    let moved = Tensor::from_vec(values, shapes[v], &Device::Cpu).unwrap();
                    vars[v] = Var::from_tensor(&moved).unwrap();
                    let (network, _) = run(&vars);
                    let out = network.forward(&vars[0]).unwrap().to_dtype(DType::F64).unwrap();
                    out.sin().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap()
                };
                let numeric = (nudged(5e-3) - nudged(-5e-3)) / 1e-2;
                let difference = (numeric - f64::from(analytic[i])).abs();
                assert!(
                    difference < 2e-2 * (1.0 + numeric.abs()),
                    "{name} input {v}[{i}]: {numeric} vs {}",
                    analytic[i]
                );
            }
        }
    }
}

/// A model directory can say anything.
#[test]
fn windows_that_are_none_are_refused() {
    for (kernel, stride, padding) in [(0, 1, 0), (4, 0, 1), (0, 0, 0), (9, 2, 0)] {
        let activation = Activation::Relu;
        let layer = Layer::conv2d(1, 2, Window::square(kernel, stride, padding), activation);
        let (w, b) = (random(&[2, 1, kernel, kernel], 1), random(&[2], 2));
        assert!(network(&[layer], &[&w, &b]).forward(&random(&[2, 4, 4, 1], 3)).is_err(), "{layer:?}");
        // The last window fits a transposed convolution.
        let padding = if kernel == 9 { 12 } else { padding };
        let layer = Layer::conv_transpose2d(1, 2, Window::square(kernel, stride, padding), activation);
        let w = random(&[1, 2, kernel, kernel], 1);
        assert!(network(&[layer], &[&w, &b]).forward(&random(&[2, 4, 4, 1], 3)).is_err(), "{layer:?}");
    }
}

/// A whole network, with layers of each kind, against the same one composed of neutral operations.
#[test]
fn a_network_is_its_layers_in_turn() {
    let (window, activation) = (Window::square(4, 2, 1), Activation::Relu);
    let layers = [
        Layer::conv2d(1, 16, window, activation),
        Layer::conv2d(16, 32, window, activation),
        Layer::Flatten,
        Layer::Linear { in_features: 128, out_features: 20, activation },
        Layer::Linear { in_features: 20, out_features: 32, activation },
        Layer::Unflatten { channels: 32, height: 1, width: 1 },
        Layer::conv_transpose2d(32, 16, window, activation),
        Layer::conv_transpose2d(16, 1, window, Activation::Identity),
    ];
    let weights: Vec<Var> = layers
        .iter()
        .filter_map(Layer::parameters)
        .zip(0..)
        .flat_map(|((weight, bias), seed)| [random(&weight, 2 * seed), random(&[bias], 2 * seed + 1)])
        .map(|var| Var::from_tensor(&(var.as_tensor() * 0.2).unwrap()).unwrap())
        .collect();
    let network = network(&layers, &weights.iter().collect::<Vec<_>>());
    let reference = |x: &Tensor| -> Result<Vec<Tensor>> {
        let w = &weights;
        let a = neutral::conv2d(x, &w[0], &w[1], window, activation)?;
        let b = neutral::conv2d(&a, &w[2], &w[3], window, activation)?;
        let c = to_channels_first(&b)?.flatten_from(1)?;
        let d = neutral::linear(&c, &w[4], &w[5], activation)?;
        let e = neutral::linear(&d, &w[6], &w[7], activation)?;
        let f = to_channels_last(&e.reshape(((), 32, 1, 1))?)?;
        let g = neutral::conv_transpose2d(&f, &w[8], &w[9], (window, [0; 2]), activation)?;
        let h = neutral::conv_transpose2d(&g, &w[10], &w[11], (window, [0; 2]), Activation::Identity)?;
        Ok(vec![a, b, c, d, e, f, g, h])
    };
    let x = random(&[5, 8, 8, 1], 99);
    let expected = reference(&x).unwrap();
    for (i, (ours, theirs)) in network.trace(&x).unwrap().iter().zip(&expected).enumerate() {
        assert_close(&format!("output of layer {i}"), ours, theirs);
    }
    let loss = |out: &Tensor| out.sqr().unwrap().sum_all().unwrap();
    let theirs = loss(&expected[7]).backward().unwrap();
    let store = loss(&network.forward(&x).unwrap()).backward().unwrap();
    assert_close("input gradient", store.get(&x).unwrap(), theirs.get(&x).unwrap());
    for (i, (ours, var)) in network.take_gradients(&store).unwrap().iter().zip(&weights).enumerate() {
        assert_close(&format!("gradient of variable {i}"), ours, theirs.get(var).unwrap());
    }
    // Two passes before the gradients are taken add up; taken, they start anew.
    for passes in [2, 1] {
        let mut store = None;
        for _ in 0..passes {
            store = Some(loss(&network.forward(&x).unwrap()).backward().unwrap());
        }
        let passes = f64::from(passes);
        let store = store.unwrap();
        for (ours, var) in network.take_gradients(&store).unwrap().iter().zip(&weights) {
            assert_close("sum of passes", ours, &(theirs.get(var).unwrap() * passes).unwrap());
        }
    }
    let frozen = loss(&network.forward_frozen(&x).unwrap()).backward().unwrap();
    assert_close("input gradient, frozen", frozen.get(&x).unwrap(), theirs.get(&x).unwrap());
    assert!(network.take_gradients(&frozen).is_err(), "frozen weights get no gradient");
}

#[test]
fn bernoulli_nll_is_the_textbook_formula() {
    let logits = random(&[3, 4, 5, 1], 1);
    let targets = candle_nn::ops::sigmoid(&random(&[3, 4, 5, 1], 2)).unwrap().detach();
    let p = candle_nn::ops::sigmoid(&logits).unwrap();
    let one_minus = |t: &Tensor| t.affine(-1.0, 1.0).unwrap();
    let textbook = ((targets.mul(&p.log().unwrap()).unwrap()
        + one_minus(&targets).mul(&one_minus(&p).log().unwrap()).unwrap())
    .unwrap()
    .neg()
    .unwrap())
    .flatten_from(1)
    .unwrap()
    .sum(1)
    .unwrap();
    for nll in [ops::bernoulli_nll, neutral::bernoulli_nll] {
        let value = nll(&logits, &targets).unwrap();
        assert_close("value", &value, &textbook);
        let gradient = |loss: &Tensor| loss.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        let (ours, theirs) = (gradient(&value), gradient(&textbook));
        assert_close("gradient", ours.get(&logits).unwrap(), theirs.get(&logits).unwrap());
    }
    // Far logits neither overflow nor vanish.
    let far = Tensor::new(&[[500_f32, -500.0]], &Device::Cpu).unwrap();
    let target = Tensor::new(&[[0_f32, 0.0]], &Device::Cpu).unwrap();
    assert_eq!(ops::bernoulli_nll(&far, &target).unwrap().to_vec1::<f32>().unwrap(), [500.0]);
}

#[test]
fn adam_is_algorithm_1() {
    let options = AdamOptions { learning_rate: 0.01, beta1: 0.9, beta2: 0.99, epsilon: 1e-8 };
    let parameter = random(&[40_000], 3);
    let (m, v) =
        (Var::zeros(40_000, DType::F32, &Device::Cpu).unwrap(), Var::zeros(40_000, DType::F32, &Device::Cpu).unwrap());
    let mut theta: Vec<f64> = parameter.to_vec1::<f32>().unwrap().iter().map(|&x| f64::from(x)).collect();
    let (mut m1, mut m2) = (vec![0.0; theta.len()], vec![0.0; theta.len()]);
    let [composed, composed_m, composed_v] =
        [&parameter, &m, &v].map(|var| Var::from_tensor(&var.copy().unwrap()).unwrap());
    for t in 1..=5 {
        let gradient = random(&[40_000], 10 + t);
        adam_update(&parameter, &m, &v, &gradient, &options, t).unwrap();
        let root = (1.0 - 0.99_f64.powi(t as i32)).sqrt();
        let scales = (0.01 * root / (1.0 - 0.9_f64.powi(t as i32)), 1e-8 * root);
        neutral::adam_update(&composed, &composed_m, &composed_v, &gradient, (0.9, 0.99), scales).unwrap();
        for (i, g) in gradient.to_vec1::<f32>().unwrap().into_iter().map(f64::from).enumerate() {
            m1[i] = 0.9 * m1[i] + 0.1 * g;
            m2[i] = 0.99 * m2[i] + 0.01 * g * g;
            let m_hat = m1[i] / (1.0 - 0.9_f64.powi(t as i32));
            let v_hat: f64 = m2[i] / (1.0 - 0.99_f64.powi(t as i32));
            theta[i] -= 0.01 * m_hat / (v_hat.sqrt() + 1e-8);
        }
    }
    for (ours, expected) in parameter.to_vec1::<f32>().unwrap().iter().zip(&theta) {
        assert!((f64::from(*ours) - expected).abs() < 1e-5, "{ours} vs {expected}");
    }
    assert_close("composed of candle's operations", &composed, &parameter);
}
