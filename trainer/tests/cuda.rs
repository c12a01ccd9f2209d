//! What a GPU computes against the CPU: layers, optimizer, every system's steps, runs. Built with `--features cuda`, and there
//! it needs a GPU: these tests fail without one.
#![cfg(feature = "cuda")]

mod support;

use std::{collections::BTreeMap, fs, thread};

use candle_core::{Device, Tensor, Var};
use clap::ValueEnum;
use support::{SMALL, command, start_on, tiny};
use unbraid_trainer::{
    data::sprites::Sprites,
    model::{Activation, Architecture, Layer, Padding, Window},
    nn::{AdamOptions, Init, Network, ops::adam::adam_update},
    objective::{Company, Objective, Options, Setup, System},
    rng::{self, Purpose},
    train::loader::{Draw, Loader},
};

fn gpu() -> Device {
    Device::new_cuda(0).expect("these tests need a GPU")
}

fn random(shape: &[usize], seed: u64) -> Tensor {
    let values = rng::normals(&mut rng::stream(seed, Purpose::Report, 0), shape.iter().product());
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Largest difference, as a share of the largest value (or of 1).
fn difference(gpu: &Tensor, cpu: &Tensor) -> f32 {
    assert_eq!(gpu.dims(), cpu.dims());
    let largest = |t: &Tensor| t.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar::<f32>().unwrap();
    let gpu = gpu.to_device(&Device::Cpu).unwrap();
    largest(&(&gpu - cpu).unwrap()) / largest(cpu).max(1.0)
}

/// Output, gradient for the input and gradients for the weights of one layer with random weights, on `device`.
fn layer_on(device: &Device, layer: Layer, x: &Tensor) -> Vec<Tensor> {
    let network = Network::new("net", &[layer], Init::He, 5, device).unwrap();
    let x = Var::from_tensor(&x.to_device(device).unwrap()).unwrap();
    let output = network.forward(&x).unwrap();
    let store = output.sqr().unwrap().sum_all().unwrap().backward().unwrap();
    let mut all = vec![output.detach(), store.get(&x).unwrap().clone()];
    if layer.parameters().is_some() {
        all.extend(network.take_gradients(&store).unwrap());
    }
    all
}

#[test]
fn layers_and_their_gradients_are_the_cpus() {
    let gpu = gpu();
    let (relu, leaky, tanh) = (Activation::Relu, Activation::LeakyRelu(0.2), Activation::Tanh);
    let conv = |kernel, stride, padding, activation| {
        Layer::conv2d(3, 5, Window { kernel, stride, padding: Padding::all(padding) }, activation)
    };
    let back = |kernel, stride, padding, activation| {
        Layer::conv_transpose2d(3, 5, Window { kernel, stride, padding: Padding::all(padding) }, activation)
    };
    let image = random(&[6, 8, 10, 3], 1);
    let layers = [
        conv([4, 4], [2, 2], 1, relu),
        conv([3, 5], [1, 2], 1, leaky),
        conv([5, 2], [3, 1], 0, tanh),
        back([4, 4], [2, 2], 1, relu),
        back([3, 2], [1, 2], 0, leaky),
        back([5, 5], [3, 3], 2, tanh),
        Layer::max_pool(Window::square(2, 2, 0)),
        Layer::UpsampleNearest { factor: [2, 3] },
    ];
    let check = |layer: Layer, x: &Tensor| {
        let (on_gpu, on_cpu) = (layer_on(&gpu, layer, x), layer_on(&Device::Cpu, layer, x));
        for (i, (gpu, cpu)) in on_gpu.iter().zip(&on_cpu).enumerate() {
            let difference = difference(gpu, cpu);
            assert!(difference < 1e-4, "{layer:?}, tensor {i}: differs by {difference}");
        }
    };
    layers.into_iter().for_each(|layer| check(layer, &image));
    check(Layer::Linear { in_features: 37, out_features: 21, activation: relu }, &random(&[9, 37], 2));
}

#[test]
fn adam_is_the_cpus() {
    let gpu = gpu();
    let options = AdamOptions { learning_rate: 1e-2, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
    let steps = |device: &Device| {
        let var = |seed| Var::from_tensor(&random(&[7, 300], seed).to_device(device).unwrap()).unwrap();
        let zeros = || Var::from_tensor(&var(1).zeros_like().unwrap()).unwrap();
        let (p, m, v) = (var(1), zeros(), zeros());
        for t in 1..=5 {
            adam_update(&p, &m, &v, var(10 + t).as_tensor(), &options, t).unwrap();
        }
        [p, m, v]
    };
    for (gpu, cpu) in steps(&gpu).iter().zip(&steps(&Device::Cpu)) {
        assert!(difference(gpu, cpu) < 1e-5);
    }
}

/// The terms of `steps` steps of `n` sprites.
fn terms(mut objective: Box<dyn Objective>, device: &Device, n: usize, steps: u64) -> Vec<BTreeMap<&'static str, f32>> {
    let draw = Draw::new(&*objective, 1, n);
    thread::scope(|scope| {
        let mut loader = Loader::start(scope, &Sprites, draw, 1..=steps, device);
        let step = |_| objective.step(&loader.next_batch().unwrap(), Company::ALONE).unwrap().into_iter().collect();
        (1..=steps).map(step).collect()
    })
}

fn small_options() -> Options {
    let mut options = Options::default();
    options.factor_vae.discriminator_units = 32;
    options.factor_vae.discriminator_layers = 2;
    options
}

/// Steps of `system` on both devices: the same terms, but for rounding.
#[track_caller]
fn check_steps(system: System, architecture: &Architecture, n: usize, steps: u64) {
    let gpu = gpu();
    let options = small_options();
    let on_cpu = terms(start_on(&Sprites, architecture, system, &options), &Device::Cpu, n, steps);
    let setup = Setup { architecture, init: Init::He, seed: 3, dataset: &Sprites, device: &gpu };
    let on_gpu = terms(system.start(setup, &options).unwrap(), &gpu, n, steps);
    for (step, (gpu, cpu)) in on_gpu.iter().zip(&on_cpu).enumerate() {
        assert_eq!(gpu.keys().collect::<Vec<_>>(), cpu.keys().collect::<Vec<_>>());
        for (name, value) in cpu {
            let difference = (gpu[name] - value).abs() / value.abs().max(1.0);
            let (system, net) = (system.name(), &architecture.name);
            assert!(difference < 1e-2, "{system} on {net}, step {}: {name} {} and {value}", step + 1, gpu[name]);
        }
    }
}

#[test]
fn every_system_makes_the_cpus_steps() {
    for &system in System::value_variants() {
        match system {
            System::Pca | System::Ica => check_steps(system, &Architecture::preset("linear", 5).unwrap(), 64, 1),
            _ => check_steps(system, &tiny(5), 8, 4),
        }
    }
}

#[test]
fn presets_make_the_cpus_steps() {
    for preset in ["factor-vae-64", "burgess-64", "beta-vae-mlp", "dc-ign"] {
        check_steps(System::FactorVae, &Architecture::preset(preset, 5).unwrap(), 8, 2);
    }
}

/// A run on the GPU, stopped and resumed, goes where one without a stop goes, to rounding; its export runs on the CPU.
#[test]
fn a_run_resumes_and_is_exported() {
    let folder = tempfile::tempdir().unwrap();
    let unbraid = |line: &str| {
        let output = command(folder.path(), line.split_whitespace()).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let small = SMALL.join(" ");
    unbraid(&format!("train --run whole --device cuda --steps 40 {small}"));
    unbraid(&format!("train --run parts --device cuda:0 --steps 20 {small}"));
    unbraid("train --resume parts --steps 40");
    let last = |run: &str| {
        let log = fs::read_to_string(folder.path().join(run).join("metrics.jsonl")).unwrap();
        let line: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
        (line["step"].as_u64().unwrap(), line["loss"].as_f64().unwrap())
    };
    let (whole, parts) = (last("whole"), last("parts"));
    assert_eq!((whole.0, parts.0), (40, 40));
    assert!((whole.1 - parts.1).abs() < 1e-2 * whole.1.abs(), "{whole:?} and {parts:?}");
    unbraid("quantize whole/model -o int8.safetensors");
}

/// The library's collectives with one rank, which is all that one GPU can have.
#[cfg(feature = "nccl")]
#[test]
fn nccl_averages_gathers_and_broadcasts() {
    use unbraid_trainer::parallel::{Communicator, Launch, Nccl};

    let gpu = gpu();
    let launch = Launch { master_address: "localhost".into(), master_port: 29_631, ..Launch::default() };
    let rank = Nccl::connect(&launch, &gpu, b"settings", |reason| panic!("{reason}")).unwrap();
    let (a, b) = (random(&[3, 5], 1), random(&[7], 2));
    let (on_a, on_b) = (a.to_device(&gpu).unwrap(), b.to_device(&gpu).unwrap());
    let averages = rank.average(&[on_a.clone(), on_b]).unwrap();
    assert_eq!(difference(&averages[0], &a), 0.0);
    assert_eq!(difference(&averages[1], &b), 0.0);
    assert_eq!(difference(&rank.gather(&on_a).unwrap(), &a), 0.0);
    assert_eq!(difference(&rank.broadcast(&[on_a]).unwrap()[0], &a), 0.0);
    rank.barrier().unwrap();
    rank.finish().unwrap();
}
