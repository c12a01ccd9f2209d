//! Files: what is written is a safetensors file, and says what was asked for.

mod networks;

use std::collections::BTreeMap;

use networks::Random;
use safetensors::{Dtype, SafeTensors};
use unbraid::writer::{self, FactorSpec, FileSpec, LayerSpec, OutputSpec, Parameters, ReadError, WriteError};
use unbraid::{Expected, Field, LoadError, Model, Place, Shape, metadata};

fn parameters(layer: &mut LayerSpec) -> &mut Parameters {
    match layer {
        LayerSpec::Conv2d { parameters, .. }
        | LayerSpec::ConvTranspose2d { parameters, .. }
        | LayerSpec::Linear { parameters, .. } => parameters,
        _ => unreachable!(),
    }
}

/// Writes the tiny model after a change.
fn changed(change: impl FnOnce(&mut FileSpec)) -> Result<Vec<u8>, WriteError> {
    let mut spec = networks::tiny();
    change(&mut spec);
    writer::write(&spec)
}

#[test]
fn any_tool_can_open_it() {
    let file = writer::write(&networks::sprites(1)).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let weight = tensors.tensor("encoder.1.weight").unwrap();
    assert_eq!((weight.dtype(), weight.shape()), (Dtype::I8, &[32, 4, 4, 32][..]));
    let bias = tensors.tensor("decoder.2.bias").unwrap();
    assert_eq!((bias.dtype(), bias.shape()), (Dtype::I32, &[2, 2, 64][..]));
    assert_eq!(tensors.tensor("decoder.5.table").unwrap().dtype(), Dtype::U8);
    let plan = tensors.tensor("plan").unwrap();
    assert_eq!(plan.dtype(), Dtype::U64);
    assert_eq!(&plan.data()[..8], b"UNBRAID\0");
    for (_, tensor) in tensors.tensors() {
        let offset = tensor.data().as_ptr() as usize - plan.data().as_ptr() as usize;
        assert!(tensor.dtype() != Dtype::I32 || offset.is_multiple_of(4));
    }
}

#[test]
fn equal_models_are_equal_bytes() {
    for seed in 0..50 {
        let spec = networks::random(seed);
        assert_eq!(writer::write(&spec), writer::write(&spec));
        assert_eq!(metadata(&writer::write(&spec).unwrap()).unwrap(), spec.metadata);
    }
}

#[test]
fn reading_gives_back_what_was_written() {
    for seed in 0..200 {
        let spec = networks::random(seed);
        let file = writer::write(&spec).unwrap();
        let read = writer::read(&file).unwrap();
        assert_eq!((&read.encoder, &read.decoder), (&spec.encoder, &spec.decoder), "seed {seed}");
        assert_eq!(writer::write(&read).unwrap(), file, "seed {seed}");
    }
    assert!(matches!(writer::read(b"no model"), Err(ReadError::Format(_))));
}

/// No natural weights and biases give such a file; a device runs it all the same.
#[test]
fn phases_that_do_not_share_a_bias_are_refused() {
    let spec = networks::sprites(1);
    let mut file = writer::write(&spec).unwrap();
    let (start, bias) = {
        let tensors = SafeTensors::deserialize(&file).unwrap();
        let at = |name| tensors.tensor(name).unwrap().data().as_ptr() as usize - file.as_ptr() as usize;
        (at("plan"), at("decoder.2.bias"))
    };
    // Channel 1 of the second phase, of 64 channels.
    file[bias + 4 * (64 + 1)] ^= 1;
    file[start + 20..start + 24].fill(0);
    let checksum = crc32fast::hash(&file[start..]);
    file[start + 20..start + 24].copy_from_slice(&checksum.to_le_bytes());
    let error = writer::read(&file).unwrap_err();
    assert!(matches!(error, ReadError::Phases { place: Place::Decoder(2), channel: 1, .. }), "{error}");
}

#[test]
fn factors_are_sorted_and_rounded() {
    let file = writer::write(&networks::tiny()).unwrap();
    let model = Model::load(&file).unwrap();
    let specs: Vec<FactorSpec> = model.factors().map(FactorSpec::from).collect();
    assert_eq!(specs, networks::tiny().factors);

    let mut factors = networks::tiny().factors;
    factors[1].importance = 9.0;
    factors[1].low = -0.3;
    factors[1].agreement = 1.0;
    let file = writer::with_factors(&file, &factors).unwrap();
    let model = Model::load(&file).unwrap();
    let names: Vec<_> = model.factors().map(|factor| factor.name).collect();
    assert_eq!(names, ["scale", "rotation"]);
    assert_eq!(model.factor("scale").unwrap().low, (-0.3f32 * 2048.0).round() / 2048.0);
    assert_eq!(model.factor("scale").unwrap().agreement, 1.0);
}

#[test]
fn new_factors_leave_all_else_alone() {
    for seed in 0..60 {
        let spec = networks::random(seed);
        let file = writer::write(&spec).unwrap();
        let mut factors = spec.factors.clone();
        factors.truncate(seed as usize % 3);
        let renamed = writer::with_factors(&file, &factors).unwrap();
        // The same as if it had been written so.
        assert_eq!(renamed, writer::write(&FileSpec { factors, ..spec.clone() }).unwrap());
        assert_eq!(writer::with_factors(&renamed, &spec.factors).unwrap(), file);

        let (old, new) = (SafeTensors::deserialize(&file).unwrap(), SafeTensors::deserialize(&renamed).unwrap());
        assert_eq!(old.len(), new.len());
        for (name, tensor) in old.tensors().into_iter().filter(|(name, _)| name != "plan") {
            assert_eq!(tensor.data(), new.tensor(&name).unwrap().data());
        }
    }
    assert!(matches!(writer::with_factors(b"no model", &[]), Err(WriteError::Format(_))));
}

#[test]
fn mistakes_are_named() {
    let place = Place::Encoder(1);
    let error = changed(|spec| {
        parameters(&mut spec.encoder[1]).weights.pop();
    });
    let (expected, found) = (6 * 16 * 4, 6 * 16 * 4 - 1);
    assert_eq!(error, Err(WriteError::Length { place, array: "weight", expected, found }));

    let error = changed(|spec| parameters(&mut spec.encoder[1]).biases[0] = i32::MAX);
    assert!(matches!(error, Err(WriteError::Value { field: "folded bias", .. } | WriteError::Format(_))), "{error:?}");

    let error = changed(|spec| parameters(&mut spec.encoder[1]).shift = 0);
    let expected = Expected::Between(1, 62);
    assert_eq!(error, Err(LoadError::Value { place, field: Field::Shift, found: 0, expected }.into()));

    let error = changed(|spec| parameters(&mut spec.encoder[1]).multipliers[2] = -1);
    let expected = Expected::Between(0, i32::MAX.into());
    assert_eq!(error, Err(LoadError::Value { place, field: Field::Multiplier, found: -1, expected }.into()));

    let error = changed(|spec| spec.image.width = 70_000).unwrap_err();
    assert_eq!(error.to_string(), "plan header: image width is 70000, expected 0 to 65535");

    let error = changed(|spec| spec.encoder.truncate(2)).unwrap_err();
    assert_eq!(error.to_string(), "encoder layer 1: output is 0, expected 1");

    let error = changed(|spec| spec.latents = 4).unwrap_err();
    assert_eq!(error.to_string(), "decoder layer 0: weight has 24 elements, expected 32");

    let error = changed(|spec| spec.factors[1].name = "rotation".into()).unwrap_err();
    assert_eq!(error.to_string(), "factor 1: name is the same as that of factor 0");
    let error = changed(|spec| spec.factors[1].latent = spec.factors[0].latent).unwrap_err();
    assert_eq!(error.to_string(), "factor 1: latent is the same as that of factor 0");
    let error = changed(|spec| spec.factors[1].name = "a\nb".into()).unwrap_err();
    assert_eq!(error.to_string(), "factor 1: the name is not printable UTF-8");
    let error = changed(|spec| spec.factors[1].name = "n".repeat(41)).unwrap_err();
    assert_eq!(error.to_string(), "factor 1: name length is 41, expected 1 to 40");
    let error = changed(|spec| spec.factors[0].center = 3.0).unwrap_err();
    assert_eq!(error.to_string(), "factor 0: high is 4096, expected 6144 to 32767");
    let error = changed(|spec| spec.factors[0].scale = f32::NAN).unwrap_err();
    assert!(matches!(error, WriteError::Number { field: "scale", .. }));
    let error = changed(|spec| spec.factors[0].low = f32::NAN).unwrap_err();
    assert!(matches!(error, WriteError::Number { field: "low", .. }));
}

#[test]
fn wild_specifications_are_errors() {
    // Shapes, windows and lengths at random: an error or a file, never a panic.
    for seed in 0..3000 {
        let random = &mut Random(seed);
        let mut spec = networks::random(seed);
        let wild = [0, 1, 2, 3, 255, 256, 1024, 65535, 65536, usize::MAX][random.between(0, 9)];
        let layers = spec.encoder.len() + spec.decoder.len();
        let target = random.between(0, layers - 1);
        let layer = spec.encoder.iter_mut().chain(&mut spec.decoder).nth(target).unwrap();
        match layer {
            LayerSpec::Conv2d { window, output, .. } | LayerSpec::ConvTranspose2d { window, output, .. } => {
                let fields = [&mut window.kernel, &mut window.stride, &mut window.padding];
                let axis = random.between(0, 1);
                match random.between(0, 3) {
                    3 => output.height = wild,
                    field => fields[field][axis] = wild,
                }
            }
            LayerSpec::Linear { output, .. } => *output = Shape { height: wild, width: wild, channels: wild },
            LayerSpec::UpsampleNearest { factor } => factor[0] = wild,
            LayerSpec::MaxPool { window, output } => {
                window.stride[1] = wild;
                output[0] = random.between(0, 20);
            }
        }
        let _ = writer::write(&spec);
    }
}

#[test]
fn metadata_may_be_anything() {
    let strings = BTreeMap::from([("quote \" \\ \n".to_string(), "ü\u{0}\u{1f600}".to_string())]);
    let file = changed(|spec| spec.metadata = strings.clone()).unwrap();
    assert_eq!(metadata(&file).unwrap(), strings);
}

#[test]
fn activations_go_through_a_table_of_256() {
    let change = |length: i16, table_zero_point| {
        changed(|spec| {
            let table = (0..length).map(|entry| (entry - 128).clamp(-90, 90) as i8).collect();
            let output = OutputSpec::Table { zero_point: 3, table, table_zero_point };
            parameters(&mut spec.decoder[1]).output = output;
        })
    };
    let file = change(256, -5).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let table = tensors.tensor("decoder.1.table").unwrap();
    assert_eq!((table.dtype(), table.shape(), table.data()[0] as i8), (Dtype::I8, &[256][..], -90));
    let model = Model::load(&file).unwrap();
    let with_table: Vec<_> = model.decoder_layers().map(|layer| layer.has_activation_table()).collect();
    assert_eq!(with_table, [false, true, false, false]);
    let error = change(255, 0).unwrap_err().to_string();
    assert_eq!(error, "decoder layer 1: table length is 255, expected 256");
    let error = changed(|spec| {
        let output = OutputSpec::Table { zero_point: 0, table: vec![0; 256], table_zero_point: 0 };
        parameters(spec.encoder.last_mut().unwrap()).output = output;
    });
    assert_eq!(error.unwrap_err().to_string(), "encoder layer 3: output is 0, expected 1");
}

#[test]
fn pixels_need_an_even_table() {
    let error = changed(|spec| {
        let last = spec.decoder.last_mut().unwrap();
        parameters(last).output = OutputSpec::Pixels { table: vec![0; 3] };
    });
    assert_eq!(
        error.unwrap_err().to_string(),
        "decoder layer 3: table length is 3, expected an even number from 2 to 65534"
    );
}
