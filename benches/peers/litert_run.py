#!/usr/bin/env python3
"""Times a model directory's encoder and decoder in LiteRT (XNNPACK), f32 and int8, for comparison with our benches.

One thread, one image at a time; only `invoke` is timed. The networks are built in Keras with the weights of
model.safetensors and converted by TensorFlow; int8 is full integer quantization, inputs and outputs too, calibrated on
256 sprites. One line of JSON for each type; `cargo bench -p unbraid-benches` measures ours.

    pip install ai-edge-litert tensorflow-cpu numpy
    python benches/peers/litert_run.py
"""

import argparse
import contextlib
import importlib.metadata
import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from tensorflow.keras import layers

from common import measure, options, report, sprites


def read_weights(path):
    """The tensors of a safetensors file, all of them f32."""
    file = path.read_bytes()
    length = int.from_bytes(file[:8], "little")
    header, data = json.loads(file[8 : 8 + length]), file[8 + length :]
    header.pop("__metadata__", None)
    return {
        name: numpy.frombuffer(data[slice(*tensor["data_offsets"])], numpy.float32).reshape(tensor["shape"])
        for name, tensor in header.items()
    }


def network(part, description, weights, input_shape):
    """A Keras network of config.json's layers, channels last; the decoder ends in a sigmoid."""
    x = inputs = tf.keras.Input(input_shape, batch_size=1)
    # PyTorch flattens (C, H, W), Keras (H, W, C): the linear layers beside it are rearranged.
    flattened = unflattened = None
    parameters = []
    for index, layer in enumerate(description):
        kind, following = layer["kind"], description[index + 1] if index + 1 < len(description) else {}
        if kind == "flatten":
            flattened, x = x.shape[1:], layers.Flatten()(x)
            continue
        if kind == "unflatten":
            x = layers.Reshape(unflattened)(x)
            continue
        if (layer.get("kernel", 4), layer.get("stride", 2), layer.get("padding", 1)) != (4, 2, 1):
            raise SystemExit(f"{part}.{index}: only kernel 4, stride 2, padding 1 is the same as Keras's padding")
        weight, bias = (weights[f"{part}.{index}.{name}"] for name in ("weight", "bias"))
        activation = None if layer["activation"] == "identity" else layer["activation"]
        if part == "decoder" and not following:
            activation = "sigmoid"
        if kind == "linear":
            weight = weight.T
            if flattened:
                height, width, channels = flattened
                weight = weight.reshape(channels, height, width, -1).transpose(1, 2, 0, 3).reshape(weight.shape)
                flattened = None
            if following.get("kind") == "unflatten":
                unflattened = [following[size] for size in ("height", "width", "channels")]
                channels_first = numpy.arange(len(bias)).reshape([unflattened[2], *unflattened[:2]])
                order = channels_first.transpose(1, 2, 0).ravel()
                weight, bias = weight[:, order], bias[order]
            keras = layers.Dense(layer["out_features"], activation)
        else:
            # (out, in, kh, kw) becomes (kh, kw, in, out); transposed (in, out, kh, kw) becomes (kh, kw, out, in).
            weight = weight.transpose(2, 3, 1, 0)
            build = {"conv2d": layers.Conv2D, "conv_transpose2d": layers.Conv2DTranspose}[kind]
            keras = build(layer["out_channels"], 4, 2, "same", activation=activation)
        x = keras(x)
        parameters += [weight, bias]
    model = tf.keras.Model(inputs, x)
    model.set_weights(parameters)
    return model


def interpreter(model, calibration=None):
    """The network in LiteRT; int8 if there is something to calibrate it on."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if calibration is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([x[None]] for x in calibration)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    # Keras tells standard output what it exports.
    with contextlib.redirect_stdout(sys.stderr):
        converted = converter.convert()
    lite = Interpreter(model_content=converted, num_threads=1)
    lite.allocate_tensors()
    return lite


def run(lite, x):
    """Sets the input `x`, runs the network and returns its output, both in f32."""
    (given,), (made,) = lite.get_input_details(), lite.get_output_details()
    if given["dtype"] == numpy.int8:
        scale, zero_point = given["quantization"]
        x = numpy.clip(numpy.round(x / scale) + zero_point, -128, 127).astype(numpy.int8)
    lite.set_tensor(given["index"], x)
    lite.invoke()
    y = lite.get_tensor(made["index"])
    if made["dtype"] == numpy.int8:
        scale, zero_point = made["quantization"]
        y = (y.astype(numpy.float32) - zero_point) * scale
    return y


def main():
    args = options(argparse.ArgumentParser(description=__doc__.splitlines()[0]))
    architecture = json.loads((args.model / "config.json").read_text())["architecture"]
    weights = read_weights(args.model / "model.safetensors")
    latents = architecture["latents"]
    images = sprites(256)[..., None]
    encoder = network("encoder", architecture["encoder"], weights, images.shape[1:])
    decoder = network("decoder", architecture["decoder"], weights, [latents])
    codes = numpy.concatenate([encoder(image[None])[:, :latents] for image in images])
    networks = {
        "f32": (interpreter(encoder), interpreter(decoder)),
        "int8": (interpreter(encoder, images), interpreter(decoder, codes)),
    }
    for type, (encoder, decoder) in networks.items():
        code = run(encoder, images[:1])[:, :latents]
        error = abs(run(decoder, code) - images[:1]).mean()
        times = measure({"encode": encoder.invoke, "decode": decoder.invoke}, args.rounds, args.runs)
        report("litert", importlib.metadata.version("ai-edge-litert"), type, times, error, args)


if __name__ == "__main__":
    main()
