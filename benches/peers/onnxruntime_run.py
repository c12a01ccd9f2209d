#!/usr/bin/env python3
"""Times a model directory's encoder and decoder in ONNX Runtime, f32 and int8, for comparison with our benches.

One thread, one image at a time, inputs and outputs bound before. int8 is made by onnxruntime.quantization from the same
files: QDQ, 8-bit activations, weights with a scale for each channel, calibrated on 256 sprites. One line of JSON for
each type; `cargo bench -p unbraid-benches` measures ours.

    pip install onnx onnxruntime numpy
    python benches/peers/onnxruntime_run.py
"""

import argparse
import pathlib
import tempfile

import numpy
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from common import measure, options, report, sprites


class Reader(CalibrationDataReader):
    """Inputs for calibration, one at a time."""

    def __init__(self, name, inputs):
        self.inputs = iter([{name: x[None]} for x in inputs])

    def get_next(self):
        return next(self.inputs, None)


def open_session(path):
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    settings.add_free_dimension_override_by_name("batch", 1)
    return onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])


def run(session, x):
    """The outputs for one input, stacked: mean and log_var, or the image."""
    return numpy.concatenate(session.run(None, {session.get_inputs()[0].name: x}), 1)


def bound(session, x):
    """A call that runs the session on `x` without Python's copies."""
    binding = session.io_binding()
    value = onnxruntime.OrtValue.ortvalue_from_numpy(x)
    binding.bind_ortvalue_input(session.get_inputs()[0].name, value)
    for output in session.get_outputs():
        shape = [size if isinstance(size, int) else 1 for size in output.shape]
        made = onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, numpy.float32)
        binding.bind_ortvalue_output(output.name, made)
    return lambda: session.run_with_iobinding(binding)


def quantize(path, folder, inputs):
    """An int8 file made from `path`, calibrated on `inputs`."""
    prepared, quantized = folder / f"prepared-{path.name}", folder / f"int8-{path.name}"
    quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
    name = open_session(path).get_inputs()[0].name
    quantize_static(
        str(prepared), str(quantized), Reader(name, inputs), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )
    return quantized


def main():
    args = options(argparse.ArgumentParser(description=__doc__.splitlines()[0]))
    images = sprites(256)[:, None]
    files = [args.model / "encoder.onnx", args.model / "decoder.onnx"]
    encoder, decoder = map(open_session, files)
    latents = decoder.get_inputs()[0].shape[1]
    codes = numpy.concatenate([run(encoder, image[None])[:, :latents] for image in images])
    with tempfile.TemporaryDirectory() as folder:
        inputs = zip(files, [images, codes])
        int8 = [open_session(quantize(path, pathlib.Path(folder), x)) for path, x in inputs]
    x, z = images[:1], codes[:1]
    for type, (encoder, decoder) in {"f32": (encoder, decoder), "int8": int8}.items():
        error = abs(run(decoder, z) - images[:1]).mean()
        times = measure({"encode": bound(encoder, x), "decode": bound(decoder, z)}, args.rounds, args.runs)
        report("onnxruntime", onnxruntime.__version__, type, times, error, args)


if __name__ == "__main__":
    main()
