//! The fused operations against candle's own layers, against their device-neutral form and against finite differences.

use candle_core::{DType, Device, Result, Tensor, Var};
use proptest::prelude::*;
use unbraid_trainer::{
    model::Activation,
    nn::{
        AdamOptions,
        ops::{self, Window, adam::adam_update, neutral},
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

/// Output and gradients of the sum of squares of `f` for three variables.
fn with_gradients(vars: [&Var; 3], f: impl Fn(&Tensor, &Tensor, &Tensor) -> Result<Tensor>) -> Vec<Tensor> {
    let out = f(vars[0], vars[1], vars[2]).unwrap();
    let gradients = out.sqr().unwrap().sum_all().unwrap().backward().unwrap();
    let mut all = vec![out.detach()];
    all.extend(vars.iter().map(|var| gradients.get(var).expect("a gradient for each input").clone()));
    all
}

fn compare(
    vars: [&Var; 3],
    f: impl Fn(&Tensor, &Tensor, &Tensor) -> Result<Tensor>,
    g: impl Fn(&Tensor, &Tensor, &Tensor) -> Result<Tensor>,
) {
    for (i, (a, b)) in with_gradients(vars, f).iter().zip(&with_gradients(vars, g)).enumerate() {
        assert_close(["output", "input gradient", "weight gradient", "bias gradient"][i], a, b);
    }
}

fn activations() -> impl Strategy<Value = Activation> {
    prop_oneof![Just(Activation::Identity), Just(Activation::Relu), Just(Activation::LeakyRelu(0.2))]
}

fn windows() -> impl Strategy<Value = Window> {
    (1_usize..5, 1_usize..4)
        .prop_flat_map(|(kernel, stride)| (Just(kernel), Just(stride), 0..kernel))
        .prop_map(|(kernel, stride, padding)| Window { kernel, stride, padding })
}

fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    match activation {
        Activation::Identity => Ok(x.clone()),
        Activation::Relu => x.relu(),
        Activation::LeakyRelu(slope) => candle_nn::ops::leaky_relu(x, f64::from(slope)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn conv2d_is_candles(
        window in windows(), activation in activations(),
        n in 1_usize..10, height in 5_usize..9, width in 5_usize..9, channels in 1_usize..4, out in 1_usize..5, seed in 0_u64..1000,
    ) {
        let x = random(&[n, height, width, channels], seed);
        let w = random(&[out, channels, window.kernel, window.kernel], seed + 1);
        let b = random(&[out], seed + 2);
        let candle = |x: &Tensor, w: &Tensor, b: &Tensor| {
            let y = to_channels_first(x)?.conv2d(w, window.padding, window.stride, 1, 1)?;
            to_channels_last(&activate(&y.broadcast_add(&b.reshape((1, out, 1, 1))?)?, activation)?)
        };
        let ours = |x: &Tensor, w: &Tensor, b: &Tensor| ops::conv2d(x, w, b, window, activation);
        compare([&x, &w, &b], ours, |x, w, b| neutral::conv2d(x, w, b, window, activation));
        // candle's own gradient fails where the last window does not end at the image's border.
        let fits = |pixels: usize| (pixels + 2 * window.padding - window.kernel).is_multiple_of(window.stride);
        if fits(height) && fits(width) {
            compare([&x, &w, &b], ours, candle);
        } else {
            assert_close("output", &ours(&x, &w, &b).unwrap(), &candle(&x, &w, &b).unwrap());
        }
    }

    #[test]
    fn conv_transpose2d_is_candles(
        window in windows(), activation in activations(),
        n in 1_usize..10, height in 2_usize..6, width in 2_usize..6, channels in 1_usize..4, out in 1_usize..5, seed in 0_u64..1000,
    ) {
        prop_assume!(window.pixels(height).is_ok() && window.pixels(width).is_ok());
        let x = random(&[n, height, width, channels], seed);
        let w = random(&[channels, out, window.kernel, window.kernel], seed + 1);
        let b = random(&[out], seed + 2);
        let candle = |x: &Tensor, w: &Tensor, b: &Tensor| {
            let y = to_channels_first(x)?.conv_transpose2d(w, window.padding, 0, window.stride, 1)?;
            to_channels_last(&activate(&y.broadcast_add(&b.reshape((1, out, 1, 1))?)?, activation)?)
        };
        // candle's own gradient of this layer does not support every window; the forward is its, the gradients are held
        // against the neutral form, which is made of differentiable basics.
        assert_close("output", &ops::conv_transpose2d(&x, &w, &b, window, activation).unwrap(), &candle(&x, &w, &b).unwrap());
        compare(
            [&x, &w, &b],
            |x, w, b| ops::conv_transpose2d(x, w, b, window, activation),
            |x, w, b| neutral::conv_transpose2d(x, w, b, window, activation),
        );
    }

    #[test]
    fn linear_is_candles(activation in activations(), n in 1_usize..9, features in 1_usize..40, out in 1_usize..40, seed in 0_u64..1000) {
        let (x, w, b) = (random(&[n, features], seed), random(&[out, features], seed + 1), random(&[out], seed + 2));
        let candle = |x: &Tensor, w: &Tensor, b: &Tensor| activate(&x.matmul(&w.t()?)?.broadcast_add(b)?, activation);
        compare([&x, &w, &b], |x, w, b| ops::linear(x, w, b, activation), candle);
        compare([&x, &w, &b], |x, w, b| neutral::linear(x, w, b, activation), candle);
    }
}

/// The gradients that training relies on, without trusting anyone's backward pass.
#[test]
fn gradients_are_those_of_finite_differences() {
    let window = Window { kernel: 4, stride: 2, padding: 1 };
    let relu = Activation::LeakyRelu(0.1);
    type Op = fn(&Tensor, &Tensor, &Tensor, Window, Activation) -> Result<Tensor>;
    let cases: [(&str, Op, [&[usize]; 3]); 2] = [
        ("conv2d", ops::conv2d, [&[2, 6, 6, 2], &[3, 2, 4, 4], &[3]]),
        ("conv_transpose2d", ops::conv_transpose2d, [&[2, 3, 3, 3], &[3, 2, 4, 4], &[2]]),
    ];
    for (name, op, shapes) in cases {
        let vars: Vec<Var> = shapes.iter().zip(5..).map(|(shape, seed)| random(shape, seed)).collect();
        let loss = |vars: &[Tensor]| {
            let out = op(&vars[0], &vars[1], &vars[2], window, relu)?.to_dtype(DType::F64)?;
            (out.sin()?.sum_all()?).to_scalar::<f64>()
        };
        let out = op(&vars[0], &vars[1], &vars[2], window, relu).unwrap();
        let gradients = out.sin().unwrap().sum_all().unwrap().backward().unwrap();
        for (v, var) in vars.iter().enumerate() {
            let analytic = gradients.get(var).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let values = var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            for i in (0..values.len()).step_by(values.len().div_ceil(12)) {
                let nudged = |by: f32| {
                    let mut values = values.clone();
                    values[i] += by;
                    let mut tensors: Vec<Tensor> = vars.iter().map(|var| var.as_detached_tensor()).collect();
                    tensors[v] = Tensor::from_vec(values, shapes[v], &Device::Cpu).unwrap();
                    loss(&tensors).unwrap()
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
    for t in 1..=5 {
        let gradient = random(&[40_000], 10 + t);
        adam_update(&parameter, &m, &v, &gradient, &options, t).unwrap();
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
}
