//! The int8 runtime beside f32 ones, on the same network and picture, in the same process, one thread each:
//!
//! - `int8`: `unbraid::Model`, in place
//! - `packed-…`: `unbraid::Packed`, for each backend that this machine has
//! - `tract`: `unbraid::onnx::OnnxAutoencoder`, the exported ONNX files
//! - `candle`: candle's own convolutions
//! - `trainer`: candle with the trainer's convolutions
//!
//! `load` goes from files to something that can run, `edit` is encode, set one factor, decode, `traversal` decodes ten
//! latents at eleven values each. `encode-batch` and `decode-batch` take 256 images on all cores.
//!
//! The network is `models/sprites-factorvae`; `UNBRAID_MODEL=DIR cargo bench -p unbraid-benches` takes another directory
//! with `model.int8.safetensors`, both ONNX files and `model.safetensors`.

mod candle;
mod trainer;

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use criterion::{Criterion, Throughput};
use unbraid::onnx::OnnxAutoencoder;
use unbraid::{Autoencoder, Backend, Code, ImageShape, Int8, Model, Packed};
use unbraid_trainer::data;

const FILES: [&str; 4] = ["model.int8.safetensors", "encoder.onnx", "decoder.onnx", "model.safetensors"];

/// One way to run the network.
struct Runtime {
    name: &'static str,
    load: Box<dyn Fn() -> Result<()>>,
    network: Box<dyn Autoencoder<Error = anyhow::Error>>,
}

impl Runtime {
    /// `load` gives what is to be run.
    fn new<A>(name: &'static str, load: impl Fn() -> Result<A> + 'static) -> Result<Self>
    where
        A: Autoencoder<Error: Into<anyhow::Error>> + 'static,
    {
        let network = Box::new(AnyError(load()?));
        Ok(Runtime { name, load: Box::new(move || load().map(|loaded| drop(black_box(loaded)))), network })
    }

    /// The whole model rearranged for a backend; a load that is measured reads the file from the disk.
    fn packed(path: PathBuf, backend: Backend) -> Result<Self> {
        let name = format!("packed-{backend}").leak();
        Runtime::new(name, move || Ok(Packed::with_backend(&Model::load(&fs::read(&path)?)?, backend)?))
    }

    /// The int8 file's bytes stay where they are, as in flash; a load that is measured reads them from the disk.
    fn int8(path: PathBuf) -> Result<Self> {
        let model = Model::load(fs::read(&path)?.leak())?;
        let network = Box::new(AnyError(Int8::new(model, vec![0; model.arena_bytes()])?));
        let load = move || {
            let file = fs::read(&path)?;
            let model = Model::load(&file)?;
            black_box(Int8::new(model, vec![0; model.arena_bytes()])?);
            Ok(())
        };
        Ok(Runtime { name: "int8", load: Box::new(load), network })
    }
}

/// A network whose errors are any errors.
struct AnyError<A>(A);

impl<A: Autoencoder<Error: Into<anyhow::Error>>> Autoencoder for AnyError<A> {
    type Error = anyhow::Error;

    fn image(&self) -> ImageShape {
        self.0.image()
    }

    fn latents(&self) -> usize {
        self.0.latents()
    }

    fn encode(&mut self, pixels: &[u8]) -> Result<Code> {
        self.0.encode(pixels).map_err(Into::into)
    }

    fn decode(&mut self, code: &Code, pixels: &mut [u8]) -> Result<()> {
        self.0.decode(code, pixels).map_err(Into::into)
    }
}

fn main() -> Result<()> {
    let shipped = || concat!(env!("CARGO_MANIFEST_DIR"), "/../models/sprites-factorvae").into();
    let folder = std::env::var_os("UNBRAID_MODEL").map_or_else(shipped, PathBuf::from);
    if let Some(missing) = FILES.iter().find(|name| !folder.join(name).is_file()) {
        println!("nothing to measure: {} has no {missing}", folder.display());
        return Ok(());
    }
    // For candle; the others have one thread anyway.
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global()?;

    let sprites = data::open("sprites")?;
    let picture = sprites.batch(&[sprites.len() / 3])?;
    let mut runtimes = runtimes(&folder)?;
    for runtime in &runtimes {
        let (found, expected) = (runtime.network.image().len(), picture.len());
        anyhow::ensure!(found == expected, "{}: pictures of {found} bytes, sprites have {expected}", runtime.name);
    }
    let mut criterion = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    measure(&mut criterion, &mut runtimes, &picture)?;
    measure_batches(&mut criterion, &folder.join(FILES[0]), &picture)?;
    criterion.final_summary();
    Ok(())
}

fn runtimes(folder: &Path) -> Result<Vec<Runtime>> {
    let [encoder, decoder] = ["encoder.onnx", "decoder.onnx"].map(|name| folder.join(name));
    let (for_candle, for_trainer) = (folder.to_owned(), folder.to_owned());
    let file = folder.join("model.int8.safetensors");
    let mut runtimes = vec![Runtime::int8(file.clone())?];
    for backend in Backend::available() {
        runtimes.push(Runtime::packed(file.clone(), backend)?);
    }
    runtimes.extend([
        Runtime::new("tract", move || Ok(OnnxAutoencoder::open(&encoder, &decoder)?))?,
        Runtime::new("candle", move || candle::Network::open(&for_candle))?,
        Runtime::new("trainer", move || trainer::Network::open(&for_trainer))?,
    ]);
    Ok(runtimes)
}

fn measure(criterion: &mut Criterion, runtimes: &mut [Runtime], picture: &[u8]) -> Result<()> {
    let mut pixels = vec![0; picture.len()];
    let mut group = criterion.benchmark_group("load");
    for Runtime { name, load, .. } in runtimes.iter() {
        load().with_context(|| name.to_string())?;
        group.bench_function(*name, |bencher| bencher.iter(load));
    }
    group.finish();

    let mut group = criterion.benchmark_group("encode");
    for Runtime { name, network, .. } in runtimes.iter_mut() {
        group.bench_function(*name, |bencher| bencher.iter(|| network.encode(picture)));
    }
    group.finish();

    let mut group = criterion.benchmark_group("decode");
    for Runtime { name, network, .. } in runtimes.iter_mut() {
        let code = network.encode(picture)?;
        network.decode(&code, &mut pixels)?;
        group.bench_function(*name, |bencher| bencher.iter(|| network.decode(&code, &mut pixels)));
    }
    group.finish();

    let mut group = criterion.benchmark_group("edit");
    for Runtime { name, network, .. } in runtimes.iter_mut() {
        let mut edit = || {
            let code = network.encode(picture)?.with(0, 1.0)?;
            network.decode(&code, &mut pixels)
        };
        group.bench_function(*name, |bencher| bencher.iter(&mut edit));
    }
    group.finish();

    let mut group = criterion.benchmark_group("traversal");
    for Runtime { name, network, .. } in runtimes.iter_mut() {
        let code = network.encode(picture)?;
        let mut traverse = || -> Result<()> {
            for latent in 0..code.latents() {
                for step in 0..11u8 {
                    network.decode(&code.with(latent, f32::from(step) * 0.4 - 2.0)?, &mut pixels)?;
                    black_box(&pixels);
                }
            }
            Ok(())
        };
        traverse()?;
        group.bench_function(*name, |bencher| bencher.iter(&mut traverse));
    }
    group.finish();
    Ok(())
}

fn measure_batches(criterion: &mut Criterion, file: &Path, picture: &[u8]) -> Result<()> {
    const IMAGES: usize = 256;
    let packed = Packed::new(&Model::load(&fs::read(file)?)?)?;
    let images = picture.repeat(IMAGES);
    let codes = packed.encode_batch(&images)?;
    let all_cores = rayon::ThreadPoolBuilder::new().build()?;
    let name = format!("packed-{}", packed.backend());
    for (group, run) in [
        ("encode-batch", &(|| drop(black_box(packed.encode_batch(&images)))) as &(dyn Fn() + Sync)),
        ("decode-batch", &|| drop(black_box(packed.decode_batch(&codes)))),
    ] {
        let mut group = criterion.benchmark_group(group);
        group.throughput(Throughput::Elements(IMAGES as u64));
        group.bench_function(&name, |bencher| all_cores.install(|| bencher.iter(run)));
        group.finish();
    }
    Ok(())
}
