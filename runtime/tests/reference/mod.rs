//! A slow second reader, written from `docs/format.md` alone: its own parser, whole tensors, i64 sums, naive loops.
#![allow(dead_code)]

pub mod natural;

/// A whole tensor, `(H, W, C)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    pub shape: [usize; 3],
    pub values: Vec<i64>,
}

impl Tensor {
    pub fn filled(shape: [usize; 3], value: i64) -> Tensor {
        Tensor { shape, values: vec![value; shape.iter().product()] }
    }

    pub fn index(&self, y: usize, x: usize, c: usize) -> usize {
        (y * self.shape[1] + x) * self.shape[2] + c
    }

    /// The value at a position that may lie outside.
    pub fn at(&self, y: i64, x: i64, c: usize, outside: i64) -> i64 {
        let inside = (0..self.shape[0] as i64).contains(&y) && (0..self.shape[1] as i64).contains(&x);
        if inside { self.values[self.index(y as usize, x as usize, c)] } else { outside }
    }
}

/// How an accumulator becomes an output, section 5.
#[derive(Debug, Clone)]
pub struct Output {
    pub kind: u8,
    pub shift: u32,
    pub multipliers: Vec<i64>,
    pub negative_multipliers: Option<Vec<i64>>,
    pub zero_point: i64,
    pub minimum: i64,
    pub maximum: i64,
    pub table: Vec<i64>,
}

impl Output {
    pub fn apply(&self, accumulator: i64, channel: usize) -> i64 {
        assert!(i32::try_from(accumulator).is_ok(), "accumulator overflows");
        let multiplier = match &self.negative_multipliers {
            Some(negative) if accumulator < 0 => negative[channel],
            _ => self.multipliers[channel],
        };
        // floor(acc·m / 2^shift + 1/2), in numbers that cannot overflow.
        let scale = 1i128 << self.shift;
        let r = (i128::from(accumulator) * i128::from(multiplier) * 2 + scale).div_euclid(2 * scale);
        let clamp = |low: i128, high: i128, r: i128| r.clamp(low, high) as i64;
        match self.kind {
            0 => {
                let y = clamp(self.minimum.into(), self.maximum.into(), r + i128::from(self.zero_point));
                if self.table.is_empty() { y } else { self.table[(y + 128) as usize] }
            }
            1 => clamp(-32768, 32767, r),
            _ => {
                let length = self.table.len() as i128;
                self.table[clamp(0, length - 1, r + length / 2) as usize]
            }
        }
    }
}

#[derive(Debug, Clone)]
struct Layer {
    kind: u8,
    input: [usize; 3],
    output_shape: [usize; 3],
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    zero_point: i64,
    weights: Vec<i64>,
    biases: Vec<i64>,
    output: Output,
}

/// A parsed file.
#[derive(Debug, Clone)]
pub struct Reference {
    pub image: [usize; 3],
    pub latents: usize,
    encoder: Vec<Layer>,
    decoder: Vec<Layer>,
}

fn u16_at(bytes: &[u8], at: usize) -> usize {
    usize::from(bytes[at]) + 256 * usize::from(bytes[at + 1])
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u16_at(bytes, at) + 65536 * u16_at(bytes, at + 2)
}

impl Layer {
    fn parse(data: &[u8], at: usize) -> Layer {
        let r = &data[at..at + 64];
        let pair = |at: usize| [usize::from(r[at]), usize::from(r[at + 1])];
        let shape = |at: usize| [u16_at(r, at), u16_at(r, at + 2), u16_at(r, at + 4)];
        let signed = |at: usize| i64::from(r[at] as i8);
        let int8 =
            |at: usize, n: usize| -> Vec<i64> { data[at..at + n].iter().map(|byte| i64::from(*byte as i8)).collect() };
        let int32 = |at: usize, n: usize| -> Vec<i64> {
            (0..n).map(|i| i64::from(u32_at(data, at + 4 * i) as u32 as i32)).collect()
        };
        let (input, output_shape) = (shape(4), shape(10));
        let (kernel, stride) = (pair(16), pair(18));
        let outputs = match r[0] {
            1 | 2 => output_shape[2],
            3 => output_shape.iter().product(),
            _ => 0,
        };
        let products = if r[0] == 3 { input.iter().product() } else { kernel[0] * kernel[1] * input[2] };
        let phases = if r[0] == 2 { stride[0] * stride[1] } else { 1 };
        Layer {
            kind: r[0],
            input,
            output_shape,
            kernel,
            stride,
            padding: pair(20),
            zero_point: signed(22),
            weights: int8(u32_at(r, 28), outputs * products),
            biases: int32(u32_at(r, 32), outputs * phases),
            output: Output {
                kind: r[1],
                shift: r[2].into(),
                multipliers: int32(u32_at(r, 36), outputs),
                negative_multipliers: (r[3] & 1 == 1).then(|| int32(u32_at(r, 40), outputs)),
                zero_point: signed(23),
                minimum: signed(24),
                maximum: signed(25),
                table: match r[1] {
                    0 => int8(u32_at(r, 44), u16_at(r, 26)),
                    _ => data[u32_at(r, 44)..][..u16_at(r, 26)].iter().map(|byte| i64::from(*byte)).collect(),
                },
            },
        }
    }

    fn run(&self, x: &Tensor) -> Tensor {
        assert_eq!(x.shape, self.input);
        let mut y = Tensor::filled(self.output_shape, 0);
        let [height, width, channels] = self.output_shape;
        for oy in 0..height {
            for ox in 0..width {
                for o in 0..channels {
                    let index = y.index(oy, ox, o);
                    y.values[index] = match self.kind {
                        1 => self.output.apply(self.conv2d(x, oy, ox, o), o),
                        2 => self.output.apply(self.conv_transpose2d(x, oy, ox, o), o),
                        3 => self.output.apply(self.linear(x, index), index),
                        4 => x.at((oy / self.stride[0]) as i64, (ox / self.stride[1]) as i64, o, i64::MAX),
                        _ => self.max_pool(x, oy, ox, o),
                    };
                }
            }
        }
        y
    }

    fn conv2d(&self, x: &Tensor, oy: usize, ox: usize, o: usize) -> i64 {
        let mut acc = self.biases[o];
        for ky in 0..self.kernel[0] {
            for kx in 0..self.kernel[1] {
                for c in 0..self.input[2] {
                    let iy = (oy * self.stride[0] + ky) as i64 - self.padding[0] as i64;
                    let ix = (ox * self.stride[1] + kx) as i64 - self.padding[1] as i64;
                    let w = ((o * self.kernel[0] + ky) * self.kernel[1] + kx) * self.input[2] + c;
                    acc += self.weights[w] * x.at(iy, ix, c, self.zero_point);
                }
            }
        }
        acc
    }

    fn conv_transpose2d(&self, x: &Tensor, oy: usize, ox: usize, o: usize) -> i64 {
        let [height, width, channels] = [self.kernel[0], self.kernel[1], self.input[2]];
        let count = |kernel: usize, stride: usize, phase: usize| (phase..kernel).step_by(stride).count();
        let (ry, rx) = ((oy + self.padding[0]) % self.stride[0], (ox + self.padding[1]) % self.stride[1]);
        // Skip the phases before this one.
        let mut base = 0;
        'phases: for r in 0..self.stride[0] {
            for q in 0..self.stride[1] {
                if (r, q) == (ry, rx) {
                    break 'phases;
                }
                base += self.output_shape[2]
                    * count(height, self.stride[0], r)
                    * count(width, self.stride[1], q)
                    * channels;
            }
        }
        let (taps_y, taps_x) = (count(height, self.stride[0], ry), count(width, self.stride[1], rx));
        let mut acc = self.biases[(ry * self.stride[1] + rx) * self.output_shape[2] + o];
        for j in 0..taps_y {
            for i in 0..taps_x {
                for c in 0..channels {
                    let iy = ((oy + self.padding[0] - ry) / self.stride[0]) as i64 - (taps_y as i64 - 1) + j as i64;
                    let ix = ((ox + self.padding[1] - rx) / self.stride[1]) as i64 - (taps_x as i64 - 1) + i as i64;
                    let w = base + ((o * taps_y + j) * taps_x + i) * channels + c;
                    acc += self.weights[w] * x.at(iy, ix, c, self.zero_point);
                }
            }
        }
        acc
    }

    fn linear(&self, x: &Tensor, o: usize) -> i64 {
        let n = x.values.len();
        self.biases[o] + (0..n).map(|i| self.weights[o * n + i] * x.values[i]).sum::<i64>()
    }

    fn max_pool(&self, x: &Tensor, oy: usize, ox: usize, c: usize) -> i64 {
        let mut best = i64::MIN;
        for ky in 0..self.kernel[0] {
            for kx in 0..self.kernel[1] {
                let iy = (oy * self.stride[0] + ky) as i64 - self.padding[0] as i64;
                let ix = (ox * self.stride[1] + kx) as i64 - self.padding[1] as i64;
                best = best.max(x.at(iy, ix, c, i64::MIN));
            }
        }
        best
    }
}

impl Reference {
    pub fn parse(file: &[u8]) -> Reference {
        let start = 8 + u32_at(file, 0);
        let data = &file[start..];
        assert_eq!(&data[..8], b"UNBRAID\0");
        let (encoder, decoder) = (u16_at(data, 34), u16_at(data, 36));
        let layers = |first: usize, n: usize| (first..first + n).map(|i| Layer::parse(data, 64 * i)).collect();
        Reference {
            image: [u16_at(data, 24), u16_at(data, 26), u16_at(data, 28)],
            latents: u16_at(data, 30),
            encoder: layers(1, encoder),
            decoder: layers(1 + encoder, decoder),
        }
    }

    /// Means, then log-variances.
    pub fn encode(&self, pixels: &[u8]) -> Vec<i64> {
        let values = pixels.iter().map(|pixel| i64::from(*pixel) - 128).collect();
        let image = Tensor { shape: self.image, values };
        self.encoder.iter().fold(image, |x, layer| layer.run(&x)).values
    }

    /// Pixels.
    pub fn decode(&self, latents: &[i16]) -> Vec<u8> {
        let values = latents.iter().map(|latent| i64::from(*latent)).collect();
        let code = Tensor { shape: [1, 1, self.latents], values };
        let image = self.decoder.iter().fold(code, |x, layer| layer.run(&x));
        assert_eq!(image.shape, self.image);
        image.values.into_iter().map(|value| value as u8).collect()
    }
}
