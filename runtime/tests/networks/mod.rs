//! Networks to test with: random ones, and the FactorVAE sprites net with random weights.
#![allow(dead_code)]

use std::collections::BTreeMap;

use unbraid::Shape;
use unbraid::writer::{FactorSpec, FileSpec, LayerSpec, OutputSpec, Parameters, Window};

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `low..=high`.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.next() as usize % (high - low + 1)
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.between(1, n) == 1
    }

    pub fn int8(&mut self) -> i8 {
        self.next() as i8
    }

    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.next() as u8).collect()
    }

    pub fn latents(&mut self, n: usize) -> Vec<i16> {
        (0..n).map(|_| self.next() as i16).collect()
    }

    /// Parameters whose outputs spread over the output's range.
    pub fn parameters(&mut self, outputs: usize, products: usize, latents: bool, output: OutputSpec) -> Parameters {
        let range = match &output {
            OutputSpec::Int8 { .. } | OutputSpec::Table { .. } => 100.0,
            OutputSpec::Code => 8_000.0,
            OutputSpec::Pixels { table } => table.len() as f64 / 4.0,
        };
        let input = if latents { 19_000.0 } else { 74.0 };
        let typical = (products as f64).sqrt() * 74.0 * input;
        let shift = self.between(26, 34) as u8;
        let unit = (range / typical * f64::from(shift).exp2()).min(2e8) as usize;
        let multipliers = (0..outputs).map(|_| self.between(unit / 2, unit * 2) as i32).collect();
        let bias = typical as usize / 4;
        Parameters {
            weights: (0..outputs * products).map(|_| self.int8()).collect(),
            biases: (0..outputs).map(|_| self.between(0, 2 * bias) as i32 - bias as i32).collect(),
            multipliers,
            negative_multipliers: None,
            shift,
            output,
        }
    }

    /// The same, but now and then leaky, saturating, or far out of range.
    fn wild_parameters(&mut self, outputs: usize, products: usize, latents: bool, output: OutputSpec) -> Parameters {
        let mut parameters = self.parameters(outputs, products, latents, output);
        if self.one_in(3) {
            let sign = if self.one_in(2) { 1 } else { -1 };
            let leaky = parameters.multipliers.iter().map(|multiplier| sign * multiplier / 5);
            parameters.negative_multipliers = Some(leaky.collect());
        }
        if self.one_in(8) {
            parameters.biases = parameters.biases.iter().map(|_| (self.next() as i32) >> self.between(2, 20)).collect();
        }
        if self.one_in(10) {
            parameters.multipliers = parameters.multipliers.iter().map(|_| (self.next() >> 33) as i32).collect();
            parameters.shift = self.between(1, 62) as u8;
        }
        parameters
    }

    fn activation(&mut self) -> OutputSpec {
        let zero_point = self.int8();
        let (minimum, maximum) = match self.between(0, 3) {
            0 => (zero_point, i8::MAX),
            1 => (i8::MIN, i8::MAX),
            2 => {
                let table = (0..256).map(|_| self.int8()).collect();
                return OutputSpec::Table { zero_point, table, table_zero_point: self.int8() };
            }
            _ => (self.int8().min(-20), self.int8().max(-20)),
        };
        OutputSpec::Int8 { zero_point, minimum, maximum }
    }

    fn pixels(&mut self) -> OutputSpec {
        let length = 2 * self.between(1, 300);
        OutputSpec::Pixels { table: self.bytes(length) }
    }

    fn window(&mut self) -> Window {
        let kernel = [self.between(1, 5), self.between(1, 5)];
        Window {
            kernel,
            stride: [self.between(1, 3), self.between(1, 3)],
            padding: kernel.map(|kernel| self.between(0, kernel - 1)),
        }
    }

    /// A random layer with weights of kind `kind` (0 conv2d, 1 conv_transpose2d, 2 linear) to `target`, if it can.
    fn weighted(
        &mut self,
        kind: usize,
        input: Shape,
        target: Shape,
        latents: bool,
        output: OutputSpec,
    ) -> Option<LayerSpec> {
        let window = self.window();
        let products = window.kernel[0] * window.kernel[1] * input.channels;
        match kind {
            0 => {
                let limits = conv_limits(input, &window);
                let fits = target.height <= limits[0] && target.width <= limits[1];
                let parameters = self.wild_parameters(target.channels, products, latents, output);
                fits.then_some(LayerSpec::Conv2d { window, output: target, parameters })
            }
            1 => {
                let limits = transpose_limits(input, &window);
                let fits = target.height <= limits[0] && target.width <= limits[1];
                let parameters = self.wild_parameters(target.channels, products, latents, output);
                fits.then_some(LayerSpec::ConvTranspose2d { window, output: target, parameters })
            }
            _ => {
                let parameters = self.wild_parameters(target.len(), input.len(), latents, output);
                Some(LayerSpec::Linear { output: target, parameters })
            }
        }
    }

    fn small_shape(&mut self, most_channels: usize) -> Shape {
        Shape { height: self.between(1, 6), width: self.between(1, 6), channels: self.between(1, most_channels) }
    }

    /// A random hidden layer and its output shape.
    fn hidden(&mut self, input: Shape, most_channels: usize) -> (LayerSpec, Shape) {
        loop {
            let window = self.window();
            match self.between(0, 9) {
                0 if input.height.max(input.width) <= 8 => {
                    let factor = [self.between(1, 3), self.between(1, 2)];
                    let output = Shape { height: input.height * factor[0], width: input.width * factor[1], ..input };
                    return (LayerSpec::UpsampleNearest { factor }, output);
                }
                1 => {
                    let [height, width] = conv_limits(input, &window).map(|limit| self.between(1, limit));
                    let layer = LayerSpec::MaxPool { window, output: [height, width] };
                    return (layer, Shape { height, width, ..input });
                }
                kind => {
                    let kind = kind % 3;
                    let mut output = self.small_shape(most_channels);
                    if kind < 2 {
                        output.height = self.between(1, 14);
                        output.width = self.between(1, 14);
                    }
                    let activation = self.activation();
                    if let Some(layer) = self.weighted(kind, input, output, false, activation) {
                        return (layer, output);
                    }
                }
            }
        }
    }
}

fn conv_limits(input: Shape, window: &Window) -> [usize; 2] {
    let limit = |size: usize, axis: usize| {
        let room = size + window.padding[axis];
        room.min((room - 1) / window.stride[axis] + 1)
    };
    [limit(input.height, 0), limit(input.width, 1)]
}

fn transpose_limits(input: Shape, window: &Window) -> [usize; 2] {
    let limit = |size: usize, axis: usize| {
        ((size - 1) * window.stride[axis] + window.kernel[axis] + window.stride[axis]) - window.padding[axis]
    };
    [limit(input.height, 0), limit(input.width, 1)]
}

/// A random model: encoder, decoder or both, of up to five layers each.
pub fn random(seed: u64) -> FileSpec {
    random_up_to(7, seed)
}

/// The same with more channels than any vector takes at a time: every window meets every remainder.
pub fn random_wide(seed: u64) -> FileSpec {
    random_up_to(70, seed)
}

fn random_up_to(most_channels: usize, seed: u64) -> FileSpec {
    let random = &mut Random(seed);
    let image = Shape { height: random.between(1, 12), width: random.between(1, 12), channels: random.between(1, 4) };
    let latents = random.between(1, 6);
    let (has_encoder, has_decoder) = [(true, true), (true, false), (false, true), (true, true)][random.between(0, 3)];
    let mut encoder = vec![];
    if has_encoder {
        let mut shape = image;
        for _ in 0..random.between(0, 4) {
            let (layer, output) = random.hidden(shape, most_channels);
            encoder.push(layer);
            shape = output;
        }
        let output = if random.one_in(4) { [2, 1, latents] } else { [1, 1, 2 * latents] }.into();
        encoder.extend(random.weighted(2, shape, output, false, OutputSpec::Code));
    }
    let mut decoder = vec![];
    if has_decoder {
        let mut shape = Shape { height: 1, width: 1, channels: latents };
        let hidden = random.between(0, 4);
        if hidden > 0 {
            let output = random.small_shape(most_channels);
            let activation = random.activation();
            decoder.extend(random.weighted(2, shape, output, true, activation));
            shape = output;
            for _ in 1..hidden {
                let (layer, output) = random.hidden(shape, most_channels);
                decoder.push(layer);
                shape = output;
            }
        }
        let pixels = random.pixels();
        let last = (0..30).find_map(|_| {
            let kind = if decoder.is_empty() { 2 } else { random.between(0, 1) };
            random.weighted(kind, shape, image, decoder.is_empty(), pixels.clone())
        });
        let latent_input = decoder.is_empty();
        decoder.extend(last.or_else(|| random.weighted(2, shape, image, latent_input, pixels)));
    }
    FileSpec {
        image,
        latents,
        mean_bits: random.between(0, 15) as u8,
        log_var_bits: random.between(0, 15) as u8,
        encoder,
        decoder,
        factors: factors(random, latents),
        metadata: BTreeMap::from([("name".to_string(), format!("random \"{seed}\" ä"))]),
    }
}

fn factors(random: &mut Random, latents: usize) -> Vec<FactorSpec> {
    let count = random.between(0, latents);
    (0..count)
        .map(|latent| FactorSpec {
            latent: latents - 1 - latent,
            name: format!("factor {latent}"),
            low: -1.5,
            high: 2.0,
            center: 0.25,
            scale: 0.5,
            importance: random.between(0, 1000) as f32 / 64.0,
            agreement: random.between(0, 64) as f32 / 64.0,
        })
        .collect()
}

/// Shapes of a FactorVAE: convolutions k4 s2 p1, two linear layers, and back.
struct FactorVae {
    side: usize,
    image_channels: usize,
    /// Channels of the encoder's convolutions; the decoder's are the same, backwards.
    channels: Vec<usize>,
    hidden: usize,
    latents: usize,
    names: &'static [&'static str],
}

/// The FactorVAE net for 64x64x1 sprites, random weights.
pub fn sprites(seed: u64) -> FileSpec {
    let names = &["rotation", "scale", "x", "y", "shape"];
    let channels = vec![32, 32, 64, 64];
    factor_vae(&FactorVae { side: 64, image_channels: 1, channels, hidden: 128, latents: 10, names }, seed)
}

/// The FactorVAE net for 64x64x3 images (3D Shapes, CelebA), random weights.
pub fn color(seed: u64) -> FileSpec {
    let channels = vec![32, 32, 64, 64];
    factor_vae(&FactorVae { side: 64, image_channels: 3, channels, hidden: 256, latents: 6, names: &[] }, seed)
}

/// A small FactorVAE net of random widths: kernels that take several channels at a time meet every remainder.
pub fn odd_widths(seed: u64) -> FileSpec {
    let random = &mut Random(seed);
    let net = FactorVae {
        side: 8,
        image_channels: random.between(1, 4),
        channels: (0..2).map(|_| random.between(1, 41)).collect(),
        hidden: random.between(1, 140),
        latents: random.between(1, 40),
        names: &[],
    };
    factor_vae(&net, seed)
}

/// The same network with the largest multipliers, and shifts to match: as the trainer writes them.
pub fn normalized(mut spec: FileSpec) -> FileSpec {
    for layer in spec.encoder.iter_mut().chain(&mut spec.decoder) {
        let (LayerSpec::Conv2d { parameters, .. }
        | LayerSpec::ConvTranspose2d { parameters, .. }
        | LayerSpec::Linear { parameters, .. }) = layer
        else {
            continue;
        };
        let all = || parameters.multipliers.iter().chain(parameters.negative_multipliers.iter().flatten());
        let largest = all().map(|multiplier| multiplier.unsigned_abs()).max().unwrap_or(0);
        let doublings = largest.leading_zeros().saturating_sub(1).min(62 - u32::from(parameters.shift));
        for multipliers in [Some(&mut parameters.multipliers), parameters.negative_multipliers.as_mut()] {
            multipliers.into_iter().flatten().for_each(|multiplier| *multiplier <<= doublings);
        }
        parameters.shift += doublings as u8;
    }
    spec
}

/// The model in `data/tiny.int8.safetensors`: 8x8x1, 3 latents, random weights.
pub fn tiny() -> FileSpec {
    let names = &["rotation", "scale"];
    factor_vae(&FactorVae { side: 8, image_channels: 1, channels: vec![4, 6], hidden: 8, latents: 3, names }, 1)
}

fn factor_vae(net: &FactorVae, seed: u64) -> FileSpec {
    let random = &mut Random(seed);
    let window = Window { kernel: [4; 2], stride: [2; 2], padding: [1; 2] };
    let relu = || OutputSpec::Int8 { zero_point: -128, minimum: -128, maximum: 127 };
    let flat = |channels| Shape { height: 1, width: 1, channels };
    let square = |side, channels| Shape { height: side, width: side, channels };

    let mut encoder = vec![];
    let mut shape = square(net.side, net.image_channels);
    for channels in &net.channels {
        let parameters = random.parameters(*channels, 16 * shape.channels, false, relu());
        shape = square(shape.height / 2, *channels);
        encoder.push(LayerSpec::Conv2d { window, output: shape, parameters });
    }
    let parameters = random.parameters(net.hidden, shape.len(), false, relu());
    encoder.push(LayerSpec::Linear { output: flat(net.hidden), parameters });
    let parameters = random.parameters(2 * net.latents, net.hidden, false, OutputSpec::Code);
    encoder.push(LayerSpec::Linear { output: flat(2 * net.latents), parameters });

    let mut decoder = vec![];
    let parameters = random.parameters(net.hidden, net.latents, true, relu());
    decoder.push(LayerSpec::Linear { output: flat(net.hidden), parameters });
    let parameters = random.parameters(shape.len(), net.hidden, false, relu());
    decoder.push(LayerSpec::Linear { output: shape, parameters });
    for channels in net.channels.iter().rev().skip(1).chain([&net.image_channels]) {
        let pixels = OutputSpec::Pixels { table: (0..512).map(|i| (i / 2) as u8).collect() };
        let output = if shape.height * 2 == net.side { pixels } else { relu() };
        let parameters = random.parameters(*channels, 16 * shape.channels, false, output);
        shape = square(shape.height * 2, *channels);
        decoder.push(LayerSpec::ConvTranspose2d { window, output: shape, parameters });
    }
    let factors = net.names.iter().enumerate().map(|(index, name)| FactorSpec {
        latent: (2 * index + 1) % net.latents,
        name: name.to_string(),
        low: -2.0,
        high: 2.0,
        center: 0.0,
        scale: 0.875,
        importance: 3.0 - index as f32 / 2.0,
        agreement: 0.75,
    });
    FileSpec {
        image: square(net.side, net.image_channels),
        latents: net.latents,
        mean_bits: 11,
        log_var_bits: 10,
        encoder,
        decoder,
        factors: factors.collect(),
        metadata: BTreeMap::from([("producer".to_string(), "unbraid's tests".to_string())]),
    }
}
