//! What cannot be represented is refused by name, with what would work.

use std::fs;

use tempfile::tempdir;
use unbraid_trainer::{
    Error,
    import::{self, Options, Part},
};

use super::model;

fn refused(name: &str) -> Error {
    let (path, part) = (model(&format!("refused_{name}")), name.ends_with("decoder") || name == "attention");
    let options = match part {
        true => Options { decoder: Some(path), ..Options::default() },
        false => Options { encoder: Some(path), ..Options::default() },
    };
    import::import(&options).unwrap_err()
}

#[test]
fn the_node_its_operator_and_what_would_work_are_named() {
    for (name, node, operator, reason, instead) in [
        ("residual", "add", "Add", "joins the outputs of two layers", "without skip connections"),
        ("silu", "mul", "Mul", "multiplies two computed values", "use Relu"),
        ("instance_norm", "norm", "InstanceNormalization", "has no layer", "batch normalization"),
        ("reflection", "pad", "Pad", "mode reflect", "pad with zeros"),
        ("average_at_border", "pool", "AveragePool", "fewer pixels at the border", "count_include_pad=True"),
        ("bilinear", "resize", "Resize", "mode linear", "mode nearest"),
        ("large_kernel", "wide", "Conv", "17", "1 to 16"),
        ("unknown", "sin", "Sin", "has no layer", "use Relu"),
        ("strided_slice", "conv2", "Conv", "leaves some out", "whole factors"),
        ("attention", "scores", "MatMul", "two computed matrices", "constant weights"),
        ("tanh_decoder", "tanh", "Tanh", "-1 to 1", "--pixels=-1..1"),
    ] {
        match refused(name) {
            Error::Refused { refusal, path } => {
                assert_eq!((refusal.node.as_str(), refusal.operator.as_str()), (node, operator), "{name}");
                assert!(refusal.reason.contains(reason) && refusal.instead.contains(instead), "{name}: {refusal}");
                assert!(path.ends_with(format!("refused_{name}.onnx")));
            }
            other => panic!("{name}: {other}"),
        }
    }
}

#[test]
fn files_that_leave_something_open_say_what() {
    for (name, words) in [
        ("two_inputs", "inputs: found [x, y]"),
        ("batch_of_four", "a batch of 4"),
        ("free_sizes", "--image"),
        ("old", "opset_import: found 8"),
        ("outputs", "--mean NAME and --log-var NAME"),
    ] {
        let error = refused(name).to_string();
        assert!(error.contains(words), "{name}: {error}");
    }
}

#[test]
fn what_is_left_open_can_be_said() {
    let image = Some(import::image_shape("8x8x2").unwrap());
    let said = |name: &str, options: Options| {
        let path = Some(model(&format!("refused_{name}")));
        import::import(&Options { encoder: path, image, ..options }).unwrap()
    };
    said("free_sizes", Options::default());
    let (mean, log_var) = (Some("c".into()), Some("a".into()));
    let imported = said("outputs", Options { mean, log_var, ..Options::default() });
    assert_eq!(imported.config.architecture.latents, 4);
    let halved = said("free_sizes", Options { latents: Some(2), ..Options::default() });
    assert_eq!(halved.config.architecture.latents, 2);
    let decoder = Some(model("refused_tanh_decoder"));
    import::import(&Options { decoder, pixels: Some("-1..1".parse().unwrap()), ..Options::default() }).unwrap();
}

#[test]
fn damaged_files_are_refused() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let good = fs::read(model("batch_norm")).unwrap();
    let import = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        import::import(&Options { encoder: Some(path.clone()), ..Options::default() })
    };
    for length in (0..good.len()).step_by(good.len() / 40) {
        assert!(import(&good[..length]).is_err(), "{length}");
    }
    // Whatever a bit of it becomes, nothing panics.
    for bit in (0..8 * good.len()).step_by(997) {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let _ = import(&bytes);
    }
    let missing = import::import(&Options { encoder: Some(folder.path().join("none.onnx")), ..Options::default() });
    assert!(missing.unwrap_err().to_string().contains("none.onnx"));
}

#[test]
fn files_are_told_apart_by_what_they_take() {
    assert_eq!(import::part_of(&model("batch_norm")).unwrap(), Part::Encoder);
    assert_eq!(import::part_of(&model("dcgan")).unwrap(), Part::Decoder);
    assert_eq!(import::part_of(&model("keras_decoder")).unwrap(), Part::Decoder);
}
