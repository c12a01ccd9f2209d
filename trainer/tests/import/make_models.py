"""Makes the ONNX files in models/, and vectors.safetensors with what PyTorch (or onnxruntime) computes with them.

    pip install torch onnx onnxscript onnxruntime safetensors numpy
    python make_models.py

The networks are small and untrained; what matters is how exporters write them. Inputs are not stored: `image` and `latents` below
are written down in the tests once more.
"""

import json
import pathlib

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file
from torch import nn
from torch.nn import functional as F

HERE = pathlib.Path(__file__).parent
MODELS = HERE / "models"
COUNT = 2
vectors, cases = {}, {}


def image(channels, height, width):
    """COUNT images of bytes, (N, H, W, C)."""
    n, y, x, c = np.ogrid[:COUNT, :height, :width, :channels]
    return ((97 * n + 7 * y + 11 * x + 53 * c + x * y * (2 + c)) % 256).astype(np.uint8)


def latents(n):
    """COUNT vectors."""
    i, j = np.ogrid[:COUNT, :n]
    return (((31 * i + 17 * j + i * j) % 41 - 20) / 10).astype(np.float32)


def seeded(network):
    """The network with weights large enough that its outputs matter, and running averages as after training."""
    generator = torch.Generator().manual_seed(1)
    for name, tensor in network.state_dict().items():
        if tensor.dtype != torch.float32:
            continue
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith("running_var"):
            tensor.copy_(0.5 + noise.abs())
        elif tensor.dim() > 1:
            tensor.copy_(noise * (1.6 / tensor[0].numel()) ** 0.5)
        elif "weight" in name:
            tensor.copy_(1 + 0.3 * noise)
        else:
            tensor.copy_(0.2 * noise)
    return network.eval()


def export(name, network, example, outputs, dynamo=False, opset=17, external=False):
    path = MODELS / f"{name}.onnx"
    if dynamo:
        torch.onnx.export(network, (example,), path, dynamo=True, external_data=external, output_names=outputs,
                          input_names=["input"], dynamic_shapes=({0: "batch"},), opset_version=opset, verbose=False)
    if external:
        return
    if not dynamo:
        torch.onnx.export(network, (example,), path, dynamo=False, input_names=["input"], output_names=outputs,
                          opset_version=opset, dynamic_axes={"input": {0: "batch"}})
    model = onnx.load(path)
    # Descriptions and stack traces are most of the dynamo exporter's files.
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del model.graph.value_info[:]
    onnx.save(model, path)


def encoder(name, network, shape, options=None, outputs=("mean", "log_var"), flat=False, scale=None, **how):
    """Exports `network` and keeps what it gives for the test images; `scale` prepares pixels from 0 to 1."""
    network = seeded(network)
    pixels = torch.from_numpy(image(*shape)).permute(0, 3, 1, 2).float() / 255
    fed = scale(pixels) if scale else pixels
    if flat:
        fed = fed.flatten(1)
    export(name, network, fed, list(outputs), **how)
    with torch.no_grad():
        given = network(fed)
    given = given if isinstance(given, tuple) else (given,)
    keep(name, "encoder", shape, options, [g.flatten(1).numpy() for g in given], list(outputs))


def decoder(name, network, n, shape, options=None, pixels=None, square=False, **how):
    """Exports `network` and keeps what it makes of the test latents, as pixels from 0 to 1."""
    network = seeded(network)
    fed = torch.from_numpy(latents(n))
    fed = fed[:, :, None, None] if square else fed
    export(name, network, fed, ["image"], **how)
    with torch.no_grad():
        given = network(fed)
    given = (pixels(given) if pixels else given).clamp(0, 1)
    keep(name, "decoder", shape, options, [given.numpy().reshape(COUNT, -1)], ["image"])


def keep(name, part, shape, options, arrays, outputs):
    for output, array in zip(outputs, arrays):
        vectors[f"{name}.{output}"] = np.ascontiguousarray(array.astype(np.float32))
    cases[name] = {"part": part, "image": list(shape), "options": options or {}}


class Two(nn.Module):
    """A trunk with two heads."""

    def __init__(self, trunk, mean, log_var):
        super().__init__()
        self.trunk, self.mean, self.log_var = trunk, mean, log_var

    def forward(self, x):
        h = self.trunk(x)
        return self.mean(h), self.log_var(h)


class Then(nn.Module):
    """A network with a function behind it."""

    def __init__(self, network, function):
        super().__init__()
        self.network, self.function = network, function

    def forward(self, x):
        return self.function(self.network(x))


def encoders():
    # A multilayer perceptron on flat pixels, as most MNIST tutorials have it.
    encoder("flat_pixels", Two(nn.Sequential(nn.Linear(256, 24), nn.Tanh()), nn.Linear(24, 5), nn.Linear(24, 5)),
            (1, 16, 16), {"image": "16x16x1"}, flat=True, opset=9)

    # No biases, batch normalization, odd channels, three linear layers, one head in two halves.
    norm = nn.Sequential(
        nn.Conv2d(3, 7, 4, 2, 1, bias=False), nn.BatchNorm2d(7), nn.LeakyReLU(0.2),
        nn.Conv2d(7, 5, 3, 2, 1, bias=False), nn.BatchNorm2d(5), nn.LeakyReLU(0.2),
        nn.Conv2d(5, 5, 5, 3, 2), nn.ReLU(), nn.BatchNorm2d(5), nn.Flatten(),
        nn.Linear(45, 19), nn.BatchNorm1d(19), nn.ReLU(), nn.Linear(19, 11), nn.ReLU(), nn.Linear(11, 6))
    encoder("batch_norm", Then(norm, lambda h: h.chunk(2, 1)), (3, 32, 32), opset=11)

    # A large image, average pooling, means and log-variances interleaved, the dynamo exporter.
    wide = nn.Sequential(nn.Conv2d(3, 4, 8, 4, 2), nn.ELU(), nn.AvgPool2d(2), nn.Conv2d(4, 6, 4, 2, 1), nn.Softplus(),
                         nn.AvgPool2d(3, 2, 1), nn.Flatten(), nn.Linear(96, 8))
    encoder("interleaved", Then(wide, lambda h: h.view(-1, 4, 2).unbind(-1)), (3, 128, 128), dynamo=True, opset=18)

    # Rectangles: kernels, strides and padding differ along the axes and on the sides; a sample is drawn at the end.
    class Sample(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(1, 4, (3, 5), (2, 1)), nn.Conv2d(4, 3, (5, 2), (3, 2), (0, 1))
            self.mean, self.log_var = nn.Linear(120, 4), nn.Linear(120, 4)

        def forward(self, x):
            h = self.first(F.pad(x, (1, 2, 0, 1))).tanh()
            h = F.elu(self.second(F.pad(h, (0, 0, 2, 1)))).flatten(1)
            mean, log_var = self.mean(h), self.log_var(h)
            return mean + torch.exp(0.5 * log_var) * (torch.randn_like(mean) if torch.onnx.is_in_onnx_export() else 0)

    encoder("sample", Sample(), (1, 24, 20), outputs=["mean"], opset=13)

    # Groups, dilation, bounded functions, overlapping pooling with padding.
    mixed = nn.Sequential(
        nn.Conv2d(2, 6, 3, 1, 2, dilation=2, groups=2), nn.ReLU6(), nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(6, 4, 3, 2, 1, groups=2), nn.BatchNorm2d(4), nn.Hardsigmoid(), nn.Conv2d(4, 4, 3, padding=1, groups=4),
        nn.SELU(), nn.MaxPool2d(2), nn.CELU(0.7), nn.Flatten(), nn.Linear(36, 6), nn.PReLU())
    encoder("groups_and_dilation", Two(mixed, nn.Linear(6, 3), nn.Linear(6, 3)), (2, 24, 24), opset=14)

    # A head of convolutions, means alone, pixels normalized as ImageNet's.
    mean, std = [torch.tensor(v)[:, None, None] for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])]
    convolutions = nn.Sequential(nn.Conv2d(3, 5, 4, 2, 1), nn.ReLU(), nn.Conv2d(5, 6, 4, 2, 1), nn.ReLU(), nn.Conv2d(6, 4, 4))
    encoder("means_alone", convolutions, (3, 16, 16), {"mean_pixel": [0.485, 0.456, 0.406], "std_pixel": [0.229, 0.224, 0.225]},
            outputs=["mean"], scale=lambda x: (x - mean) / std, dynamo=True, opset=20, external=True)

    # Heads that part two layers before the end; log-variances are clipped.
    branch = lambda: nn.Sequential(nn.Linear(48, 7), nn.ReLU(), nn.Linear(7, 3))
    clipped = Then(branch(), lambda h: h.clamp(-6, 2))
    trunk = nn.Sequential(nn.Conv2d(1, 3, 4, 4), nn.ReLU(), nn.Flatten())
    encoder("branches", Two(trunk, branch(), clipped), (1, 16, 16), {"pixels": "-1..1"}, scale=lambda x: 2 * x - 1, opset=12)

    # The mean of each channel, and normalization inside the network in front of padding.
    inside = nn.Sequential(nn.BatchNorm2d(1), nn.Conv2d(1, 6, 3, 2, 1), nn.ReLU(), nn.BatchNorm2d(6), nn.Conv2d(6, 8, 3, 2, 1),
                           nn.Sigmoid(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    encoder("channel_means", Two(inside, nn.Linear(8, 2), nn.Linear(8, 2)), (1, 20, 20), opset=17)


def decoders():
    # DCGAN's generator: latents of one pixel, no biases, tanh.
    generator = nn.Sequential(
        nn.ConvTranspose2d(6, 9, 4, 1, 0, bias=False), nn.BatchNorm2d(9), nn.ReLU(),
        nn.ConvTranspose2d(9, 5, 4, 2, 1, bias=False), nn.BatchNorm2d(5), nn.ReLU(),
        nn.ConvTranspose2d(5, 3, 4, 2, 1), nn.Tanh())
    decoder("dcgan", generator, 6, (3, 16, 16), {"pixels": "-1..1"}, lambda x: (x + 1) / 2, square=True, opset=16)

    # Nearest upsampling between convolutions.
    upsample = nn.Sequential(nn.Linear(4, 48), nn.ReLU(), nn.Unflatten(1, (3, 4, 4)), nn.Upsample(scale_factor=2),
                             nn.Conv2d(3, 5, 3, 1, 1), nn.LeakyReLU(0.1), nn.Upsample(scale_factor=3), nn.Conv2d(5, 1, 5, 1, 2),
                             nn.Sigmoid())
    decoder("upsampling", upsample, 4, (1, 24, 24), dynamo=True, opset=18)
    sizes = Then(nn.Sequential(nn.Linear(4, 36), nn.ELU(0.8), nn.Unflatten(1, (4, 3, 3)), nn.Conv2d(4, 2, 1), nn.ReLU6()),
                 lambda h: F.interpolate(h, size=(18, 18)).sigmoid())
    decoder("upsampling_by_sizes", sizes, 4, (2, 18, 18), opset=13)

    # Output padding, groups, and logits at the end.
    padded = nn.Sequential(
        nn.Linear(3, 36), nn.Unflatten(1, (4, 3, 3)), nn.ConvTranspose2d(4, 6, 3, 2, 1, output_padding=1, groups=2), nn.ELU(),
        nn.ConvTranspose2d(6, 4, (2, 3), (2, 3), bias=False), nn.Softplus(), nn.ConvTranspose2d(4, 3, 3, 1, 1, dilation=1))
    decoder("output_padding", padded, 3, (3, 12, 18), {"logits": True}, torch.sigmoid, opset=13)

    # A border that is cut off, and a clipping.
    cut = nn.Sequential(nn.Linear(3, 32), nn.ReLU(), nn.Unflatten(1, (2, 4, 4)), nn.ConvTranspose2d(2, 4, 4, 2, 0), nn.Tanh(),
                        nn.ConvTranspose2d(4, 1, 4, 2, 0))
    decoder("cropped", Then(cut, lambda h: F.hardtanh(h[:, :, 2:-1, 3:-2] * 0.3 + 0.4, 0, 1)), 3, (1, 19, 17), opset=15)


def state_dicts():
    """A whole model as a state_dict; state_dict.toml says what its tensors are."""

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.down = nn.ModuleList([nn.Conv2d(3, 6, (3, 4), (1, 2), (1, 1)), nn.Conv2d(6, 5, 3, 2, 1, bias=False)])
            self.norm, self.hidden, self.head = nn.BatchNorm2d(5), nn.Linear(80, 12), nn.Linear(12, 8)
            self.start, self.up = nn.Linear(4, 80), nn.ConvTranspose2d(5, 6, 4, 2, 1)
            self.out, self.spare = nn.Conv2d(6, 3, 3, 1, 1), nn.Linear(2, 2)

        def forward(self, x):
            h = F.max_pool2d(self.down[0](x).relu(), (2, 1))
            h = F.elu(self.norm(self.down[1](h))).flatten(1)
            mean, log_var = self.head(self.hidden(h).tanh()).view(-1, 4, 2).unbind(-1)
            h = F.leaky_relu(self.up(F.softplus(self.start(mean)).view(-1, 5, 4, 4)), 0.1)
            return mean, log_var, self.out(F.interpolate(h, scale_factor=2)).sigmoid()

    network = seeded(Model())
    pixels = torch.from_numpy(image(3, 16, 16)).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        given = network(2 * pixels - 1)
    for output, array in zip(["mean", "log_var", "image"], given):
        vectors[f"state_dict.{output}"] = np.ascontiguousarray(array.flatten(1).numpy())
    save_file({name: tensor.numpy() for name, tensor in network.state_dict().items()}, HERE / "state_dict.safetensors")


def graph(name, nodes, inputs, outputs, constants, opset=13):
    """A file as tf2onnx and Keras write them."""
    infos = [[helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in side.items()] for side in (inputs, outputs)]
    initializers = [numpy_helper.from_array(value, n) for n, value in constants.items()]
    model = helper.make_model(helper.make_graph(nodes, name, *infos, initializers), producer_name="test",
                              opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    path = MODELS / f"{name}.onnx"
    onnx.save(model, path)
    return path


def weights(*shape):
    generator = np.random.default_rng(len(shape) + sum(shape))
    return (generator.standard_normal(shape) * (1.6 / np.prod(shape[1:])) ** 0.5).astype(np.float32)


def channels_last():
    node = helper.make_node
    ints = lambda *values: np.array(values, np.int64)
    path = graph("keras_encoder", [
        node("Transpose", ["image"], ["t"], "to_nchw", perm=[0, 3, 1, 2]),
        node("Conv", ["t", "w1", "b1"], ["c1"], "conv1", auto_pad="SAME_UPPER", strides=[2, 2]),
        node("Relu", ["c1"], ["r1"], "relu1"),
        node("BatchNormalization", ["r1", "gamma", "beta", "average", "variance"], ["n1"], "bn1", epsilon=1e-3),
        node("MaxPool", ["n1"], ["p1"], "pool1", kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_UPPER"),
        node("Transpose", ["p1"], ["p1t"], "to_nhwc", perm=[0, 2, 3, 1]),
        node("MatMul", ["p1t", "pointwise"], ["d0"], "dense0"), node("Add", ["d0", "b0"], ["a0"], "bias0"),
        node("Tanh", ["a0"], ["h0"], "tanh0"),
        node("Shape", ["h0"], ["s"], "shape"),
        node("Slice", ["s", "zero", "one", "zero"], ["n"], "batch"),
        node("Concat", ["n", "rest"], ["target"], "target", axis=0),
        node("Reshape", ["h0", "target"], ["f"], "flatten"),
        node("MatMul", ["f", "wm"], ["dm"], "z_mean/MatMul"), node("Add", ["dm", "bm"], ["z_mean"], "z_mean/BiasAdd"),
        node("MatMul", ["f", "wl"], ["dl"], "z_log_var/MatMul"), node("Add", ["dl", "bl"], ["z_log_var"], "z_log_var/BiasAdd"),
        node("Mul", ["z_log_var", "half"], ["half_log_var"], "half"), node("Exp", ["half_log_var"], ["sigma"], "exp"),
        node("RandomNormalLike", ["z_mean"], ["noise"], "noise"), node("Mul", ["sigma", "noise"], ["spread"], "scale"),
        node("Add", ["z_mean", "spread"], ["z"], "sample"),
    ], {"image": ["n", 18, 18, 3]}, {"z_mean": ["n", 3], "z_log_var": ["n", 3], "z": ["n", 3]}, {
        "w1": weights(5, 3, 3, 3), "b1": weights(5), "gamma": 1 + weights(5), "beta": weights(5), "average": weights(5),
        "variance": np.abs(weights(5)) + 0.5, "pointwise": weights(5, 4), "b0": weights(4), "wm": weights(100, 3),
        "bm": weights(3), "wl": weights(100, 3)[::-1].copy(), "bl": weights(3), "half": np.float32(0.5), "zero": ints(0), "one": ints(1),
        "rest": ints(-1)})
    fed = image(3, 18, 18).astype(np.float32) / 255
    mean, log_var = onnxruntime.InferenceSession(path).run(["z_mean", "z_log_var"], {"image": fed})
    keep("keras_encoder", "encoder", (3, 18, 18), None, [mean, log_var], ["mean", "log_var"])

    path = graph("keras_decoder", [
        node("MatMul", ["z", "w0"], ["d0"], "dense"), node("Add", ["d0", "b0"], ["a0"], "bias"), node("Relu", ["a0"], ["h0"], "relu"),
        node("Reshape", ["h0", "grid"], ["g"], "reshape"), node("Transpose", ["g"], ["gt"], "to_nchw", perm=[0, 3, 1, 2]),
        node("ConvTranspose", ["gt", "w1"], ["c1"], "up1", auto_pad="SAME_UPPER", strides=[2, 2]),
        node("Transpose", ["c1"], ["c1t"], "to_nhwc", perm=[0, 2, 3, 1]), node("Add", ["c1t", "b1"], ["a1"], "bias1"),
        node("LeakyRelu", ["a1"], ["h1"], "leaky", alpha=0.3), node("Transpose", ["h1"], ["h1t"], "to_nchw2", perm=[0, 3, 1, 2]),
        node("ConvTranspose", ["h1t", "w2"], ["c2"], "up2", output_shape=[13, 13], strides=[2, 2], kernel_shape=[3, 3]),
        node("Transpose", ["c2"], ["c2t"], "to_nhwc2", perm=[0, 2, 3, 1]), node("Add", ["c2t", "b2"], ["a2"], "bias2"),
        node("Sigmoid", ["a2"], ["image"], "sigmoid"),
    ], {"z": ["n", 3]}, {"image": ["n", 13, 13, 3]}, {
        "w0": weights(3, 54), "b0": weights(54), "grid": ints(-1, 3, 3, 6), "w1": weights(6, 4, 3, 3), "b1": weights(4),
        "w2": weights(4, 3, 3, 3), "b2": weights(3)}, opset=11)
    given, = onnxruntime.InferenceSession(path).run(None, {"z": latents(3)})
    keep("keras_decoder", "decoder", (3, 13, 13), None, [given.transpose(0, 3, 1, 2).reshape(COUNT, -1)], ["image"])


def tensorflow():
    """What make_tf_models.py made."""
    fed = image(1, 28, 28).astype(np.float32) / 255
    session = onnxruntime.InferenceSession(MODELS / "tf2onnx_encoder.onnx")
    mean, log_var = session.run(None, {session.get_inputs()[0].name: fed})
    keep("tf2onnx_encoder", "encoder", (1, 28, 28), None, [mean, log_var], ["mean", "log_var"])
    session = onnxruntime.InferenceSession(MODELS / "tf2onnx_decoder.onnx")
    given, = session.run(None, {session.get_inputs()[0].name: latents(3)})
    keep("tf2onnx_decoder", "decoder", (1, 28, 28), None, [given.transpose(0, 3, 1, 2).reshape(COUNT, -1)], ["image"])


def refusals():
    """Graphs that no chain of layers stands for."""
    node = helper.make_node
    picture, vector = {"x": ["n", 2, 8, 8]}, {"x": ["n", 4]}
    w = {"w": weights(2, 2, 3, 3), "w2": weights(128, 4)}
    conv = node("Conv", ["x", "w"], ["c"], "conv", pads=[1, 1, 1, 1])
    head = [node("Flatten", ["last"], ["f"], "flatten"), node("MatMul", ["f", "w2"], ["mean"], "head")]

    def encoder_with(name, *nodes, inputs=picture, constants=None, opset=17):
        graph(f"refused_{name}", [conv, *nodes, *head], inputs, {"mean": ["n", 4]}, {**w, **(constants or {})}, opset)

    encoder_with("residual", node("Add", ["c", "x"], ["last"], "add"))
    encoder_with("silu", node("Sigmoid", ["c"], ["s"], "sigmoid"), node("Mul", ["c", "s"], ["last"], "mul"))
    encoder_with("instance_norm", node("InstanceNormalization", ["c", "g", "g"], ["last"], "norm"), constants={"g": weights(2)})
    encoder_with("reflection", node("Pad", ["c", "p"], ["d"], "pad", mode="reflect"),
                 node("Slice", ["d", "from", "to", "axes"], ["last"], "slice"),
                 constants={"p": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "from": np.array([0, 0]), "to": np.array([8, 8]), "axes": np.array([2, 3])})
    encoder_with("average_at_border", node("AveragePool", ["c"], ["last"], "pool", kernel_shape=[3, 3], pads=[1, 1, 1, 1]))
    encoder_with("bilinear", node("Resize", ["c", "", "scales"], ["u"], "resize", mode="linear"),
                 node("MaxPool", ["u"], ["last"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
                 constants={"scales": np.array([1, 1, 2, 2], np.float32)})
    encoder_with("large_kernel", node("Conv", ["c", "wide"], ["last"], "wide", pads=[8, 8, 8, 8]), constants={"wide": weights(2, 2, 17, 17)})
    encoder_with("unknown", node("Relu", ["c"], ["r"], "relu"), node("Sin", ["r"], ["last"], "sin"))
    encoder_with("strided_slice", node("Slice", ["c", "zero", "eight", "axis", "two"], ["s"], "slice"),
                 node("Conv", ["s", "w"], ["s2"], "conv2", pads=[1, 1, 1, 1]), node("Tile", ["s2", "twice"], ["last"], "tile"),
                 constants={"zero": np.array([0]), "eight": np.array([8]), "axis": np.array([2]), "two": np.array([2]),
                            "twice": np.array([1, 1, 2, 1])})
    encoder_with("two_inputs", node("Add", ["c", "y"], ["last"], "add"), inputs={**picture, "y": ["n", 2, 8, 8]})
    encoder_with("batch_of_four", node("Relu", ["c"], ["last"], "relu"), inputs={"x": [4, 2, 8, 8]})
    encoder_with("free_sizes", node("Relu", ["c"], ["last"], "relu"), inputs={"x": ["n", 2, "h", "w"]})
    graph("refused_old", [node("Relu", ["x"], ["mean"], "relu")], {"x": ["n", 4]}, {"mean": ["n", 4]}, {}, opset=8)
    graph("refused_tanh_decoder", [
        node("MatMul", ["x", "w"], ["d"], "dense"), node("Reshape", ["d", "shape"], ["r"], "reshape"), node("Tanh", ["r"], ["image"], "tanh"),
    ], vector, {"image": ["n", 1, 4, 4]}, {"w": weights(4, 16), "shape": np.array([-1, 1, 4, 4])})
    graph("refused_attention", [
        node("MatMul", ["x", "w"], ["q"], "query"), node("Transpose", ["q"], ["k"], "keys", perm=[1, 0]),
        node("MatMul", ["q", "k"], ["image"], "scores"),
    ], vector, {"image": ["n", 1]}, {"w": weights(4, 16)})
    graph("refused_outputs", [
        node("Flatten", ["x"], ["f"], "flatten"), *(node("MatMul", ["f", "w2"], [out], out) for out in "abc"),
    ], picture, {out: ["n", 4] for out in "abc"}, {"w2": weights(128, 4)})


if __name__ == "__main__":
    MODELS.mkdir(exist_ok=True)
    with torch.no_grad():
        encoders()
        decoders()
    state_dicts()
    channels_last()
    tensorflow()
    refusals()
    save_file(vectors, HERE / "vectors.safetensors")
    (HERE / "cases.json").write_text(json.dumps(cases, indent=1) + "\n")
