#!/usr/bin/env python3
"""Checks the ONNX files of a model directory against its weights.

    pip install onnx onnxruntime numpy safetensors
    python scripts/check_onnx.py MODEL_DIR

onnx.checker reads encoder.onnx and decoder.onnx, onnxruntime runs them on random inputs, and the results are compared
with a plain numpy forward pass made from config.json and model.safetensors. Exits with 1 if a difference is above 1e-4.
"""

import json
import pathlib
import sys

import numpy
import onnx
import onnxruntime
from safetensors.numpy import load_file

LIMIT = 1e-4


def convolve(x, weight, bias, stride, padding):
    """x (N, C, H, W), weight (out, in, kernel, kernel) -> (N, out, H', W')."""
    kernel = weight.shape[2]
    x = numpy.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    height, width = ((n - kernel) // stride + 1 for n in x.shape[2:])
    y = numpy.zeros((x.shape[0], weight.shape[0], height, width)) + bias[:, None, None]
    for i in range(kernel):
        for j in range(kernel):
            taps = x[:, :, i : i + stride * height : stride, j : j + stride * width : stride]
            y += numpy.einsum("nchw,oc->nohw", taps, weight[:, :, i, j])
    return y


def convolve_transposed(x, weight, bias, stride, padding):
    """x (N, C, H, W), weight (in, out, kernel, kernel) -> (N, out, H', W')."""
    kernel = weight.shape[2]
    height, width = x.shape[2:]
    full = ((n - 1) * stride + kernel for n in (height, width))
    y = numpy.zeros((x.shape[0], weight.shape[1], *full))
    for i in range(kernel):
        for j in range(kernel):
            spread = numpy.einsum("nchw,co->nohw", x, weight[:, :, i, j])
            y[:, :, i : i + stride * height : stride, j : j + stride * width : stride] += spread
    cut = [slice(padding, n - padding) for n in y.shape[2:]]
    return y[:, :, cut[0], cut[1]] + bias[:, None, None]


def max_pool(x, kernel, stride):
    """x (N, C, H, W) -> (N, C, H', W')."""
    height, width = ((n - kernel) // stride + 1 for n in x.shape[2:])
    places = [(i, j) for i in range(kernel) for j in range(kernel)]
    views = [x[:, :, i : i + stride * height : stride, j : j + stride * width : stride] for i, j in places]
    return numpy.max([view[:, :, :height, :width] for view in views], axis=0)


def activate(x, activation):
    """activation is "identity", "relu", "tanh" or {"leaky_relu": slope}."""
    if activation == "identity":
        return x
    if activation == "tanh":
        return numpy.tanh(x)
    slope = 0.0 if activation == "relu" else activation["leaky_relu"]
    return numpy.where(x >= 0, x, slope * x)


def forward(part, layers, weights, x):
    """Runs the layers of config.json in double precision."""
    for i, layer in enumerate(layers):
        kind = layer["kind"]
        if kind == "flatten":
            x = x.reshape(len(x), -1)
            continue
        if kind == "unflatten":
            x = x.reshape(len(x), layer["channels"], layer["height"], layer["width"])
            continue
        if kind == "max_pool":
            x = max_pool(x, layer["kernel"], layer["stride"])
            continue
        if kind == "upsample_nearest":
            x = x.repeat(layer["factor"], axis=2).repeat(layer["factor"], axis=3)
            continue
        weight, bias = (weights[f"{part}.{i}.{name}"].astype(numpy.float64) for name in ("weight", "bias"))
        if kind == "conv2d":
            x = convolve(x, weight, bias, layer["stride"], layer["padding"])
        elif kind == "conv_transpose2d":
            x = convolve_transposed(x, weight, bias, layer["stride"], layer["padding"])
        elif kind == "linear":
            x = x @ weight.T + bias
        else:
            sys.exit(f"config.json: architecture.{part}[{i}]: unknown kind {kind!r}")
        x = activate(x, layer["activation"])
    return x


def run(path, **inputs):
    """The outputs of an ONNX file by name."""
    onnx.checker.check_model(onnx.load(path), full_check=True)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs)))


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print(__doc__)
        sys.exit(0 if sys.argv[1:] in (["-h"], ["--help"]) else 2)
    folder = pathlib.Path(sys.argv[1])
    for name in ("config.json", "model.safetensors", "encoder.onnx", "decoder.onnx"):
        if not (folder / name).is_file():
            sys.exit(f"{folder / name}: no such file")
    net = json.loads((folder / "config.json").read_text(encoding="utf-8"))["architecture"]
    weights = load_file(folder / "model.safetensors")
    image, latents = net["image"], net["latents"]
    random = numpy.random.default_rng(0)
    worst = 0.0

    def compare(name, batch, found, expected):
        nonlocal worst
        if found.shape != expected.shape:
            sys.exit(f"{name}: found shape {found.shape}, expected {expected.shape}")
        difference = float(numpy.abs(found - expected).max())
        print(f"{name}, batch {batch}: largest difference {difference:.2e}")
        # NaN is not below any limit.
        worst = max(worst, difference if difference == difference else numpy.inf)

    for batch in (1, 3):
        x = random.random((batch, image["channels"], image["height"], image["width"]), numpy.float32)
        code = forward("encoder", net["encoder"], weights, x.astype(numpy.float64))
        found = run(folder / "encoder.onnx", image=x)
        compare("mean", batch, found["mean"], code[:, :latents])
        compare("log_var", batch, found["log_var"], code[:, latents:])
        z = random.standard_normal((batch, latents), numpy.float32)
        last = forward("decoder", net["decoder"], weights, z.astype(numpy.float64))
        # Files from before there were two kinds of pixel output hold none: logits.
        linear = net.get("output", "sigmoid") == "linear"
        pixels = last.clip(0, 1) if linear else 1 / (1 + numpy.exp(-last))
        compare("image", batch, run(folder / "decoder.onnx", latent=z)["image"], pixels)
    if worst > LIMIT:
        sys.exit(f"{folder}: found a difference of {worst:.2e}, expected at most {LIMIT:.0e}")
    print(f"{folder}: the ONNX files agree with the weights within {LIMIT:.0e}")


if __name__ == "__main__":
    main()
