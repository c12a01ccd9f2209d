//! ONNX pairs behind the same interface as int8 models, and through the command. The networks are small enough to be
//! computed by hand: 1x2 pictures of two channels, two latents.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use prost::Message;
use tempfile::TempDir;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, type_proto,
};
use unbraid::onnx::{OnnxAutoencoder, OnnxError};
use unbraid::{Autoencoder, Code, CodeError, ImageShape, RunError};

const FLOAT: i32 = 1;
const INT64: i32 = 7;
const INT_ATTRIBUTE: i32 = 2;

fn node(op: &str, inputs: &[&str], output: &str, axis: Option<i64>) -> NodeProto {
    let axis = axis.map(|i| AttributeProto { name: "axis".into(), r#type: INT_ATTRIBUTE, i, ..Default::default() });
    NodeProto {
        op_type: op.into(),
        name: format!("{op} {output}"),
        input: inputs.iter().map(ToString::to_string).collect(),
        output: vec![output.into()],
        attribute: axis.into_iter().collect(),
        ..Default::default()
    }
}

fn vector(name: &str, values: &[i64]) -> TensorProto {
    let (dims, int64_data) = (vec![values.len() as i64], values.to_vec());
    TensorProto { name: name.into(), dims, data_type: INT64, int64_data, ..Default::default() }
}

/// f32; the batch is free.
fn tensor(name: &str, shape: &[i64]) -> ValueInfoProto {
    let batch = dimension::Value::DimParam("batch".into());
    let sizes = shape.iter().map(|size| dimension::Value::DimValue(*size));
    let dim = [batch].into_iter().chain(sizes).map(|value| Dimension { value: Some(value), ..Default::default() });
    let shape = Some(TensorShapeProto { dim: dim.collect() });
    let value = Some(type_proto::Value::TensorType(type_proto::Tensor { elem_type: FLOAT, shape }));
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { value, ..Default::default() }), ..Default::default() }
}

fn file(
    input: ValueInfoProto,
    output: Vec<ValueInfoProto>,
    node: Vec<NodeProto>,
    initializer: Vec<TensorProto>,
) -> Vec<u8> {
    let graph = GraphProto { name: "test".into(), input: vec![input], output, node, initializer, ..Default::default() };
    let opset_import = vec![OperatorSetIdProto { version: 17, ..Default::default() }];
    ModelProto { ir_version: 8, opset_import, graph: Some(graph), ..Default::default() }.encode_to_vec()
}

/// `mean` is channel 0, `log_var` channel 1.
fn encoder() -> Vec<u8> {
    let slice = |start, end, output| node("Slice", &["flat", start, end, "axes"], output, None);
    file(
        tensor("image", &[2, 1, 2]),
        vec![tensor("mean", &[2]), tensor("log_var", &[2])],
        vec![node("Flatten", &["image"], "flat", Some(1)), slice("0", "2", "mean"), slice("2", "4", "log_var")],
        vec![vector("0", &[0]), vector("2", &[2]), vector("4", &[4]), vector("axes", &[1])],
    )
}

/// Both channels are the latents.
fn decoder() -> Vec<u8> {
    file(
        tensor("latent", &[2]),
        vec![tensor("image", &[2, 1, 2])],
        vec![
            node("Concat", &["latent", "latent"], "both", Some(1)),
            node("Reshape", &["both", "shape"], "image", None),
        ],
        vec![vector("shape", &[0, 2, 1, 2])],
    )
}

struct Pair {
    folder: TempDir,
}

impl Pair {
    fn new(encoder: &[u8], decoder: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("encoder.onnx"), encoder).unwrap();
        fs::write(folder.path().join("decoder.onnx"), decoder).unwrap();
        Pair { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn open(&self) -> Result<OnnxAutoencoder, OnnxError> {
        OnnxAutoencoder::open(&self.path("encoder.onnx"), &self.path("decoder.onnx"))
    }

    fn error(&self) -> String {
        self.open().unwrap_err().to_string()
    }

    /// Exit code, standard output and standard error of the command, run in the folder.
    fn run(&self, arguments: &str) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_unbraid-run"));
        let output = command.args(arguments.split_whitespace()).current_dir(self.folder.path()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }
}

#[test]
fn pictures_are_height_width_channel_and_pixels_are_rounded() {
    let mut onnx = Pair::new(&encoder(), &decoder()).open().unwrap();
    assert_eq!(onnx.image(), ImageShape { height: 1, width: 2, channels: 2 });
    assert_eq!(onnx.latents(), 2);
    let code = onnx.encode(&[255, 51, 0, 102]).unwrap();
    assert_eq!((code.mean_bits(), code.log_var_bits()), (12, 8));
    assert_eq!(code.means(), [4096, 0]);
    assert_eq!(code.log_vars(), [51, 102]);

    let mut pixels = [0; 4];
    let code = onnx.zeros().with(0, 0.5).unwrap().with(1, 1.0 / 255.0).unwrap();
    onnx.decode(&code, &mut pixels).unwrap();
    assert_eq!(pixels, [128, 128, 1, 1]);
    // Outside 0 to 1.
    onnx.decode(&onnx.zeros().with(0, 3.0).unwrap().with(1, -3.0).unwrap(), &mut pixels).unwrap();
    assert_eq!(pixels, [255, 255, 0, 0]);
}

#[test]
fn wrong_buffers_and_codes_are_refused() {
    let mut onnx = Pair::new(&encoder(), &decoder()).open().unwrap();
    let size = RunError::ImageSize { expected: 4, found: 3 };
    assert!(matches!(onnx.encode(&[0; 3]), Err(OnnxError::Size(error)) if error == size));
    assert!(matches!(onnx.decode(&onnx.zeros(), &mut [0; 3]), Err(OnnxError::Size(error)) if error == size));
    let other = Code::zeros(3, 12, 8).unwrap();
    let latents = RunError::Latents { expected: 2, found: 3 };
    assert!(matches!(onnx.decode(&other, &mut [0; 4]), Err(OnnxError::Size(error)) if error == latents));
}

#[test]
fn files_that_are_no_pair_are_refused() {
    let pair = Pair::new(&encoder(), &decoder());
    fs::remove_file(pair.path("decoder.onnx")).unwrap();
    assert!(matches!(pair.open(), Err(OnnxError::File { path, .. }) if path.ends_with("decoder.onnx")));
    for garbage in [&b"not a model"[..], b"", &encoder()[..100]] {
        let error = Pair::new(garbage, &decoder()).error();
        assert!(error.contains("encoder.onnx: not an ONNX model that tract can run"), "{error}");
    }

    let error = Pair::new(&decoder(), &encoder()).error();
    assert!(error.contains("encoder.onnx: no single input \"image\", found [\"latent\"]"), "{error}");
    let nameless =
        file(tensor("image", &[2]), vec![tensor("y", &[2])], vec![node("Relu", &["image"], "y", None)], vec![]);
    let error = Pair::new(&nameless, &decoder()).error();
    assert!(error.contains("no outputs [\"mean\", \"log_var\"], found [\"y\"]"), "{error}");
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let pass = |op: &str, input: ValueInfoProto, output: &str, shape: &[i64]| {
        let nodes = vec![node(op, &[&input.name], output, None)];
        file(input, vec![tensor(output, shape)], nodes, vec![])
    };
    // A decoder of other pictures, one of more latents, and one of more than a code can hold.
    let error = Pair::new(&encoder(), &pass("Sigmoid", tensor("latent", &[2]), "image", &[2])).error();
    assert!(
        error.contains("decoder.onnx: output \"image\" has shape 1,2, expected [1, 2, 1, 2], the encoder's image"),
        "{error}"
    );
    let error = Pair::new(&encoder(), &pass("Sigmoid", tensor("latent", &[3]), "image", &[3])).error();
    assert!(
        error.contains("encoder.onnx: output \"mean\" has shape 1,2, expected [1, 3], the decoder's latents"),
        "{error}"
    );
    let error = Pair::new(&encoder(), &pass("Sigmoid", tensor("latent", &[129]), "image", &[129])).error();
    assert!(error.contains("input \"latent\" has shape") && error.contains("expected batch, 1 to 128"), "{error}");

    let flat = |shape: &[i64]| {
        let nodes = vec![node("Relu", &["image"], "mean", None), node("Relu", &["image"], "log_var", None)];
        file(tensor("image", shape), vec![tensor("mean", shape), tensor("log_var", shape)], nodes, vec![])
    };
    for shape in [&[2][..], &[5, 8, 8], &[1, 0, 8], &[1, 2000, 8], &[1, 8, 8, 8], &[]] {
        let error = Pair::new(&flat(shape), &decoder()).error();
        assert!(error.contains("input \"image\" has shape") && error.contains("1 to 4, 1 to 1024"), "{error}");
    }
}

#[test]
fn nan_is_an_error() {
    // log of a number below 0.
    let logarithm = file(
        tensor("latent", &[2]),
        vec![tensor("image", &[2, 1, 2])],
        vec![
            node("Log", &["latent"], "log", None),
            node("Concat", &["log", "log"], "both", Some(1)),
            node("Reshape", &["both", "shape"], "image", None),
        ],
        vec![vector("shape", &[0, 2, 1, 2])],
    );
    let mut onnx = Pair::new(&encoder(), &logarithm).open().unwrap();
    let code = onnx.zeros().with(0, 1.0).unwrap().with(1, -1.0).unwrap();
    let error = onnx.decode(&code, &mut [0; 4]).unwrap_err();
    assert!(matches!(error, OnnxError::NotANumber { name: "image", index: 1, .. }), "{error}");
    assert!(matches!(code.with(2, 0.0), Err(CodeError::Latent { .. })));
}

#[test]
fn the_command_takes_a_folder() {
    let pair = Pair::new(&encoder(), &decoder());
    let config = r#"{"format": "unbraid", "factors": [{"latent": 1, "name": "light", "low": 0.0, "high": 1.0, "center": 0.2,
        "scale": 0.4, "importance": 2.0, "agreement": 0.5}]}"#;
    fs::write(pair.path("config.json"), config).unwrap();
    let photo = image::GrayAlphaImage::from_raw(2, 1, vec![255, 51, 0, 102]).unwrap();
    photo.save(pair.path("photo.png")).unwrap();
    let (code, stdout, stderr) = pair.run("encode . photo.png");
    assert_eq!((code, stderr.as_str()), (0, ""));
    let rows: Vec<Vec<_>> = stdout.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows, [vec!["z1", "light", "0.0000", "0.3984"], vec!["z0", "1.0000", "0.1992"]]);

    let edited = pair.run("edit . photo.png --set light=0.5 --set z0=0 -o edit.png");
    assert_eq!(edited, (0, "light (z1): 0.0000 -> 0.5000\nz0: 1.0000 -> 0.0000\n".into(), String::new()));
    assert_eq!(image::open(pair.path("edit.png")).unwrap().into_bytes(), [0, 0, 128, 128]);
    assert_eq!(pair.run("decode . -o center.png").0, 0);
    assert_eq!(image::open(pair.path("center.png")).unwrap().into_bytes(), [0, 0, 51, 51]);
    assert_eq!(pair.run("traverse . --steps 2 -o sheet.png").0, 0);
    assert_eq!(image::open(pair.path("sheet.png")).unwrap().width(), 2 + 2 * 4);

    for (config, reason) in [
        ("{", "config.json: EOF"),
        (&config.replace("1,", "2,"), "config.json: factor \"light\": latent is 2, expected less than 2"),
        (&config.replace("0.2", "NaN"), "config.json: "),
    ] {
        fs::write(pair.path("config.json"), config).unwrap();
        let (code, _, stderr) = pair.run("decode . -o other.png");
        assert!(code == 1 && stderr.contains(reason), "{stderr}");
    }
    let (code, _, stderr) = pair.run("info .");
    assert!(code == 1 && stderr.contains("the int8 file that `unbraid quantize` makes"), "{stderr}");
}
