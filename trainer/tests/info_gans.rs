//! InfoGAN and InfoWGAN-GP: their mechanisms on sprites, and what becomes of Q and G as encoder and decoder.

mod support;

use std::{collections::BTreeMap, fs, thread};

use candle_core::{D, Device, Tensor};
use support::{assert_same, files, start_on, tiny, unbraid, write_networks};
use tempfile::tempdir;
use unbraid_trainer::{
    data::sprites::Sprites,
    model::{Activation, Architecture, Layer, PixelOutput, Window},
    nn::Init,
    objective::{
        Batch, Company, Objective, Options, Setup, System,
        info::{CodeVariance, Codes, InfoNetworks, InfoOptions},
    },
    rng::{self, Purpose},
    train::loader::{Draw, Loader},
};

const LATENTS: usize = 4;
const CLASSES: usize = 3;

/// One continuous code and one categorical one.
fn options() -> Options {
    let info = InfoOptions {
        info_coefficient: 1.0,
        categorical_codes: 1,
        categorical_classes: CLASSES,
        noise_size: 2,
        ..InfoOptions::default()
    };
    let mut options = Options { info, ..Options::default() };
    (options.info_wgan_gp.wgan_learning_rate, options.info_wgan_gp.critic_steps) = (2e-3, 3);
    options
}

/// `system` with fresh networks.
fn start(system: System, options: &Options) -> Box<dyn Objective> {
    start_on(&Sprites, &tiny(LATENTS), system, options)
}

/// Trains `system` for `steps` steps on minibatches of 16 sprites; the terms of each step.
fn train(system: System, options: &Options, steps: u64) -> (Box<dyn Objective>, Vec<BTreeMap<&'static str, f32>>) {
    let mut objective = start(system, options);
    let draw = Draw::new(&*objective, 1, 16);
    let terms = thread::scope(|scope| {
        let mut loader = Loader::start(scope, &Sprites, draw, 1..=steps, &Device::Cpu);
        let step = |_| objective.step(&loader.next_batch().unwrap(), Company::ALONE).unwrap().into_iter().collect();
        (1..=steps).map(step).collect()
    });
    (objective, terms)
}

/// How well the deployed encoder finds the latents that the deployed decoder made 512 images of: the correlation for the continuous
/// code, and the share of categorical codes whose greatest latent is that of their class.
fn recovered(objective: &dyn Objective) -> (f32, f32) {
    let (encoder, decoder) = objective.networks().unwrap();
    let codes = Codes::new(&InfoOptions { noise_size: 0, ..options().info }, LATENTS).unwrap();
    let codes = codes.draw(512, 9, 1, &Device::Cpu).unwrap();
    let scales = Tensor::new(&[3_f32.sqrt(), 1.0, 1.0, 1.0], &Device::Cpu).unwrap();
    let z = codes.broadcast_mul(&scales).unwrap();
    let images = candle_nn::ops::sigmoid(&decoder.forward_frozen(&z).unwrap()).unwrap();
    let found = encoder.forward_frozen(&images).unwrap();
    let column = |t: &Tensor| t.narrow(1, 0, 1).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let class = |t: &Tensor| {
        t.narrow(1, 1, CLASSES).unwrap().contiguous().unwrap().argmax(D::Minus1).unwrap().to_vec1::<u32>().unwrap()
    };
    let right = class(&z).iter().zip(class(&found)).filter(|(a, b)| **a == *b).count();
    (correlation(&column(&z), &column(&found)), right as f32 / 512.0)
}

fn correlation(a: &[f32], b: &[f32]) -> f32 {
    let mean = |values: &[f32]| values.iter().sum::<f32>() / values.len() as f32;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let sum = |f: &dyn Fn(f32, f32) -> f32| a.iter().zip(b).map(|(a, b)| f(a - mean_a, b - mean_b)).sum::<f32>();
    sum(&|a, b| a * b) / (sum(&|a, _| a * a) * sum(&|_, b| b * b)).sqrt()
}

/// The average of a term over the last 50 steps.
fn last(terms: &[BTreeMap<&'static str, f32>], name: &str) -> f32 {
    terms[terms.len() - 50..].iter().map(|terms| terms[name]).sum::<f32>() / 50.0
}

#[test]
fn q_recovers_the_codes_of_generated_images() {
    for (system, steps) in [(System::InfoGan, 250), (System::InfoWganGp, 120)] {
        let (before, chance) = recovered(&*start(system, &options()));
        let (trained, terms) = train(system, &options(), steps);
        let (after, accuracy) = recovered(&*trained);
        println!(
            "{}: correlation {after:.3} (untrained {before:.3}), accuracy {accuracy:.3} (untrained {chance:.3}), \
             mutual information {:.2} nats",
            system.name(),
            last(&terms, "mutual_information")
        );
        assert!(after > 0.9 && before.abs() < 0.7, "{}: correlation {after}, untrained {before}", system.name());
        assert!(accuracy > 0.9 && chance < 0.7, "{}: accuracy {accuracy}, untrained {chance}", system.name());
    }
}

#[test]
fn without_its_term_the_codes_are_not_recovered() {
    let mut options = options();
    options.info.info_coefficient = 0.0;
    let (trained, terms) = train(System::InfoGan, &options, 300);
    let (_, accuracy) = recovered(&*trained);
    let information = last(&terms, "mutual_information");
    println!("accuracy {accuracy:.3}, mutual information {information:.2} nats");
    assert!(information < 0.0 && accuracy < 0.7, "mutual information {information}, accuracy {accuracy}");
}

#[test]
fn the_penalty_holds_the_critics_gradient_at_1() {
    let norm = |gradient_penalty| {
        let mut options = Options::default();
        (options.info_wgan_gp.wgan_learning_rate, options.info_wgan_gp.critic_steps) = (1e-3, 4);
        options.info_wgan_gp.gradient_penalty = gradient_penalty;
        last(&train(System::InfoWganGp, &options, 120).1, "gradient_norm")
    };
    let (with, without) = (norm(10.0), norm(0.0));
    println!("‖∇D‖ {with:.3} with the penalty, {without:.3} without");
    assert!((with - 1.0).abs() < 0.25 && without > 3.0, "‖∇D‖ {with} with the penalty, {without} without");
}

/// Networks whose weights and biases are all random.
fn networks(info: &InfoOptions) -> InfoNetworks {
    let architecture = tiny(LATENTS);
    let setup = Setup { architecture: &architecture, init: Init::He, seed: 3, dataset: &Sprites, device: &Device::Cpu };
    let networks = InfoNetworks::new(setup, info, "discriminator").unwrap();
    for (i, (_, var)) in (0..).zip([networks.generator.variables(), networks.critic.variables()].concat()) {
        let values = rng::normals(&mut rng::stream(5, Purpose::Report, i), var.elem_count());
        var.set(&(Tensor::from_vec(values, var.dims(), &Device::Cpu).unwrap() * 0.3).unwrap()).unwrap();
    }
    networks
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[track_caller]
fn assert_close(found: &Tensor, expected: &Tensor, tolerance: f32) {
    assert_eq!(found.dims(), expected.dims());
    for (found, expected) in values(found).iter().zip(values(expected)) {
        assert!((found - expected).abs() <= tolerance * expected.abs().max(1.0), "{found}, expected {expected}");
    }
}

#[test]
fn the_decoder_is_g_with_the_noise_of_the_seed() {
    for noise_size in [0, 2] {
        let networks = networks(&InfoOptions { noise_size, ..options().info });
        let inputs = networks.codes.draw(20, 1, 1, &Device::Cpu).unwrap();
        let codes = inputs.narrow(1, 0, LATENTS).unwrap();
        let noise = networks.codes.deployed_noise(3);
        assert!(noise.iter().all(|n| (-1.0..=1.0).contains(n)) && (noise_size == 0 || noise[0] != noise[1]));
        let noise = Tensor::from_vec(noise, (1, noise_size), &Device::Cpu).unwrap().repeat((20, 1)).unwrap();
        let inputs = if noise_size == 0 { codes.clone() } else { Tensor::cat(&[&codes, &noise], 1).unwrap() };
        let expected = networks.generator.forward_frozen(&inputs).unwrap();
        // The one continuous code as a latent of variance 1.
        let z = codes.broadcast_mul(&Tensor::new(&[3_f32.sqrt(), 1.0, 1.0, 1.0], &Device::Cpu).unwrap()).unwrap();
        let (_, decoder) = networks.deployed().unwrap();
        assert_close(&decoder.forward_frozen(&z).unwrap(), &expected, 1e-6);
    }
}

#[test]
fn the_encoder_is_q() {
    for variance in [CodeVariance::Learned, CodeVariance::Fixed] {
        let networks = networks(&InfoOptions { code_variance: variance, ..options().info });
        let images = support::factor_vae::images(10, 1);
        let (encoder, _) = networks.deployed().unwrap();
        let found = encoder.forward_frozen(&images).unwrap().to_vec2::<f32>().unwrap();
        let q = networks.judge_frozen(&images).unwrap().q.to_vec2::<f32>().unwrap();
        for (found, q) in found.iter().zip(&q) {
            let mean = (q[1] + q[2] + q[3]) / 3.0;
            let log_var = if variance == CodeVariance::Learned { q[LATENTS] } else { 0.0 };
            let expected = [
                3_f32.sqrt() * q[0],
                (q[1] - mean) / 10.0 + 1.0 / 3.0,
                (q[2] - mean) / 10.0 + 1.0 / 3.0,
                (q[3] - mean) / 10.0 + 1.0 / 3.0,
                log_var + 3_f32.ln(),
                0.01_f32.ln(),
                0.01_f32.ln(),
                0.01_f32.ln(),
            ];
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-5 * expected.abs().max(1.0), "{found}, expected {expected}");
            }
        }
    }
}

/// Trained GANs as files, which the commands take as those of any VAE.
#[test]
fn every_command_takes_q_and_g() {
    let folder = tempdir().unwrap();
    for system in [System::InfoGan, System::InfoWganGp] {
        let (trained, _) = train(system, &options(), 20);
        let (f32, int8) = (system.name(), format!("{}.int8", system.name()));
        let (encoder, decoder) = trained.networks().unwrap();
        write_networks(&folder.path().join(&f32), tiny(LATENTS), (&encoder, &decoder));
        unbraid(folder.path(), &format!("quantize {f32} -o {int8} --images 64 --compare 64")).succeeds();
        for model in [&f32, &int8] {
            let line = format!("evaluate {model} --samples 100 --protocol infogan-cr");
            let table = unbraid(folder.path(), &line).succeeds().out;
            assert!(table.contains("factor-vae") && table.contains("infogan-cr"), "{table}");
            unbraid(folder.path(), &format!("traverse {model} -o {model}.png")).succeeds();
        }
        unbraid(folder.path(), &format!("label {f32} --samples 100")).succeeds();
    }
}

/// Checkpoints, and the model directory that is made of the last one.
#[test]
fn a_run_that_goes_on_ends_where_a_whole_one_does() {
    let folder = tempdir().unwrap();
    let settings =
        "--latents 4 --batch-size 4 --categorical-codes 1 --categorical-classes 2 --log-every 1 --checkpoint-every 2";
    for (system, more) in [("info-gan", ""), ("info-wgan-gp", "--critic-steps 2")] {
        let train = |line: &str| unbraid(folder.path(), &format!("train {line}")).succeeds();
        let (whole, parts) = (format!("{system}-whole"), format!("{system}-parts"));
        let settings = format!("--objective {system} {settings} {more}");
        train(&format!("--run {whole} --steps 4 {settings}"));
        train(&format!("--run {parts} --steps 2 {settings} --threads 1"));
        train(&format!("--resume {parts} --steps 4"));
        let of = |run: &str, file: &str| fs::read(folder.path().join(run).join(file)).unwrap();
        for file in ["metrics.jsonl", "checkpoints/step-00000004.safetensors", "model/model.safetensors"] {
            assert!(of(&whole, file) == of(&parts, file), "{system}: {file} differs");
        }
        unbraid(folder.path(), &format!("export {parts} -o {system}")).succeeds();
        assert_same(&files(&folder.path().join(system)), &files(&folder.path().join(&parts).join("model")));
    }
}

/// -log Q(c|x), one number at a time.
#[test]
fn the_cross_entropy_is_that_of_the_densities() {
    let n = 6;
    for variance in [CodeVariance::Learned, CodeVariance::Fixed] {
        let codes = Codes::new(&InfoOptions { code_variance: variance, ..options().info }, LATENTS).unwrap();
        assert!((codes.entropy() - (2_f64.ln() + 3_f64.ln())).abs() < 1e-12);
        let inputs = codes.draw(n, 7, 1, &Device::Cpu).unwrap();
        let q = rng::normals(&mut rng::stream(1, Purpose::Report, 1), n * 2 * LATENTS);
        let rows = inputs.to_vec2::<f32>().unwrap();
        let mut expected = 0.0;
        for (c, q) in rows.iter().zip(q.chunks(2 * LATENTS)) {
            assert!(c[1..4].iter().sum::<f32>() == 1.0 && c[0].abs() <= 1.0 && c.len() == LATENTS + 2);
            let variance = if variance == CodeVariance::Learned { q[LATENTS].exp() } else { 1.0 };
            let density = (-(c[0] - q[0]).powi(2) / (2.0 * variance)).exp() / (std::f32::consts::TAU * variance).sqrt();
            let chosen: f32 = c[1..4].iter().zip(&q[1..4]).map(|(c, q)| c * q.exp()).sum();
            let probability = chosen / q[1..4].iter().map(|q| q.exp()).sum::<f32>();
            expected -= (density.ln() + probability.ln()) / n as f32;
        }
        let q = Tensor::from_vec(q, (n, 2 * LATENTS), &Device::Cpu).unwrap();
        assert_close(&codes.cross_entropy(&q, &inputs).unwrap(), &Tensor::new(expected, &Device::Cpu).unwrap(), 1e-5);
    }
}

/// As other devices than the CPU compute it, from candle's operations.
#[test]
fn composed_networks_have_the_same_gradients() {
    let x = support::factor_vae::images(4, 1);
    let gradients = |compose: bool| {
        let mut networks = networks(&options().info);
        if compose {
            networks.critic.compose_layers();
        }
        let g = networks.score_gradient(&x).unwrap();
        let [of_real, of_generated] = networks.judge(&x, &(&x * 0.5).unwrap()).unwrap();
        let scores = (of_real.score.mean_all().unwrap() - of_generated.score.mean_all().unwrap()).unwrap();
        let loss =
            (g.sqr().unwrap().sum_all().unwrap() + scores + of_generated.q.sqr().unwrap().sum_all().unwrap()).unwrap();
        networks.critic.take_gradients(&loss.backward().unwrap()).unwrap()
    };
    for (fused, composed) in gradients(false).iter().zip(gradients(true)) {
        assert_close(fused, &composed, 1e-4);
    }
}

#[test]
fn a_step_without_its_minibatches_is_refused() {
    for (system, images) in [(System::InfoGan, 2), (System::InfoWganGp, 0)] {
        let images = vec![support::factor_vae::images(2, 1); images];
        let error = start(system, &options()).step(&Batch { step: 1, images, kind: 0 }, Company::ALONE).unwrap_err();
        assert!(error.to_string().contains("minibatch"), "{error}");
    }
}

#[test]
fn settings_and_architectures_that_have_no_place_for_the_codes_are_refused() {
    let refused = |system: System, architecture: &Architecture, info: InfoOptions, expected: &str| {
        let options = Options { info, ..Options::default() };
        let error = system.check(&options, &Sprites, architecture).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    let (fitting, info) = (tiny(LATENTS), InfoOptions::default);
    let with = |change: &dyn Fn(&mut Architecture)| {
        let mut architecture = fitting.clone();
        change(&mut architecture);
        architecture
    };
    let tanh = with(&|a| {
        let Layer::Conv2d { activation, .. } = &mut a.encoder[1] else { panic!("a convolution") };
        *activation = Activation::Tanh;
    });
    let pool = with(&|a| a.encoder[1] = Layer::max_pool(Window::square(4, 4, 0)));
    for system in [System::InfoGan, System::InfoWganGp] {
        let many = InfoOptions { categorical_codes: 2, categorical_classes: 3, ..info() };
        refused(system, &fitting, many, "categorical_codes = 2: expected at most 1, each with 3 of the 4 latents");
        refused(
            system,
            &with(&|a| a.decoder = a.decoder.split_off(1)),
            info(),
            "architecture = tiny: expected one whose decoder begins",
        );
        refused(system, &with(&|a| a.encoder.truncate(3)), info(), "one whose encoder ends in a linear layer");
        refused(system, &with(&|a| a.output = PixelOutput::Linear), info(), "networks whose decoder gives logits");
    }
    for (system, what) in [(System::InfoGan, "R1 (gan_r1 above 0)"), (System::InfoWganGp, "the gradient penalty")] {
        for (architecture, layer) in [(&tanh, "Conv2d"), (&pool, "MaxPool")] {
            let expected = format!("since {what} takes a second derivative; layer 1 is {layer}");
            refused(system, architecture, info(), &expected);
        }
    }
    let mut options = Options::default();
    options.info_gan.gan_r1 = 0.0;
    for architecture in [&tanh, &pool] {
        System::InfoGan.check(&options, &Sprites, architecture).unwrap();
    }
}
