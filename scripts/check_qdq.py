#!/usr/bin/env python3
"""Checks the ONNX files of `unbraid export --format qdq-onnx` against the runtime.

    pip install numpy onnx onnxruntime pillow
    unbraid export MODEL --format qdq-onnx -o QDQ_DIR
    python scripts/check_qdq.py MODEL QDQ_DIR UNBRAID_RUN

MODEL is an int8 file or a model directory that holds one. onnx.checker reads encoder.qdq.onnx and decoder.qdq.onnx, those that
there are; onnxruntime and the command UNBRAID_RUN encode the model's golden-inputs.png, if it lies beside, and pictures of noise,
and decode their codes and random ones. Prints what share of the numbers is equal. Exits with 1 if a mean or a log-variance differs
by more than one of its steps, or more than one pixel in a thousand by more than one of 255. Those few are no fault of the file:
onnxruntime computes in f32, so that an activation within rounding of a half now and then becomes the next integer, which the pixels
that it reaches show.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import numpy
import onnx
import onnxruntime
from PIL import Image

RANDOM = 20
MOST_FAR_PIXELS = 1e-3


def open_session(path):
    """An ONNX file, checked, as a function from its input to its outputs by name; and the shape of the input."""
    onnx.checker.check_model(onnx.load(path), full_check=True)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (first,) = session.get_inputs()
    names = [output.name for output in session.get_outputs()]
    return lambda x: dict(zip(names, session.run(names, {first.name: x}))), first.shape[1:]


def pictures(folder, shape, random):
    """(N, H, W, C) bytes: the golden inputs, which lie side by side, and noise in blocks of 1 to 16 pixels."""
    channels, height, width = shape
    sheet = folder / "golden-inputs.png"
    if sheet.is_file():
        row = numpy.asarray(Image.open(sheet).convert("L" if channels == 1 else "RGB"))
        yield from numpy.split(row.reshape(height, -1, channels), row.shape[1] // width, axis=1)
    for i in range(RANDOM):
        block = 1 << i % 5
        noise = random.integers(0, 256, (-(-height // block), -(-width // block), channels), numpy.uint8)
        yield noise.repeat(block, axis=0).repeat(block, axis=1)[:height, :width]


def main():
    if len(sys.argv) != 4 or sys.argv[1].startswith("-"):
        print(__doc__)
        sys.exit(0 if sys.argv[1:] in (["-h"], ["--help"]) else 2)
    model, qdq, command = map(pathlib.Path, sys.argv[1:])
    if model.is_dir():
        model = model / "model.int8.safetensors"
    encoder, decoder = (qdq / f"{part}.qdq.onnx" for part in ("encoder", "decoder"))
    if not encoder.is_file() and not decoder.is_file():
        sys.exit(f"{qdq}: no encoder.qdq.onnx and no decoder.qdq.onnx")
    random = numpy.random.default_rng(0)
    wrong = False

    def compare(name, found, expected, step, most_far=0.0):
        """Both in real numbers; `step` is what the integers of the runtime count in, `most_far` the share that may be farther off."""
        nonlocal wrong
        found, expected = numpy.asarray(found), numpy.asarray(expected)
        if found.shape != expected.shape:
            sys.exit(f"{name}: found shape {found.shape}, expected {expected.shape}")
        steps = numpy.abs(found / step - expected / step)
        # NaN is not below any limit.
        far = ~(steps < 1.01)
        print(f"{name}: {(steps < 0.01).mean():.4%} of {steps.size} equal, "
              f"{far.sum()} more than a step apart, at most {steps.max():.2f}")
        wrong |= far.mean() > most_far

    # The first 64 bytes of the data section are the plan's header; bytes 32 and 33 are fraction bits.
    file = model.read_bytes()
    header = file[8 + int.from_bytes(file[:8], "little") :][:64]
    mean_step, log_var_step = 2.0 ** -header[32], 2.0 ** -header[33]
    latents = int.from_bytes(header[30:32], "little")

    with tempfile.TemporaryDirectory() as folder:
        picture, code = (pathlib.Path(folder) / name for name in ("picture.png", "code.json"))

        def call(*arguments):
            subprocess.run([command, *arguments, "--force"], check=True, stdout=subprocess.DEVNULL)

        codes = list(random.standard_normal((RANDOM, latents)) * 1.5)
        if encoder.is_file():
            run, shape = open_session(encoder)
            inputs = numpy.stack(list(pictures(model.parent, shape, random)))
            encoded = []
            for pixels in inputs:
                Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels).save(picture)
                call("encode", model, picture, "-o", code)
                encoded.append(json.loads(code.read_text(encoding="utf-8"))["latents"])
            outputs = run((inputs / 255).transpose(0, 3, 1, 2).astype(numpy.float32))
            for name, step in (("mean", mean_step), ("log_var", log_var_step)):
                compare(name, outputs[name], [[latent[name] for latent in code] for code in encoded], step)
            codes += [[latent["mean"] for latent in code] for code in encoded]
        if decoder.is_file():
            run, _ = open_session(decoder)
            # Numbers that the runtime holds exactly: rounding a code is not what is compared.
            codes = numpy.round(numpy.array(codes) / mean_step) * mean_step
            decoded = []
            for means in codes:
                entries = [{"latent": i, "mean": float(mean), "log_var": 0.0} for i, mean in enumerate(means)]
                code.write_text(json.dumps({"latents": entries}), encoding="utf-8")
                call("decode", model, "--code", code, "-o", picture)
                pixels = numpy.asarray(Image.open(picture))
                decoded.append(pixels.reshape(*pixels.shape[:2], -1).transpose(2, 0, 1) / 255)
            compare("image", run(codes.astype(numpy.float32))["image"], numpy.stack(decoded), 1 / 255, MOST_FAR_PIXELS)
    if wrong:
        sys.exit(f"{qdq}: onnxruntime does not give what the runtime gives: more is more than a step apart than f32 explains")
    print(f"{qdq}: onnxruntime gives what the runtime gives")


if __name__ == "__main__":
    main()
