#!/usr/bin/env python3
"""Times FactorVAE training steps (Kim & Mnih 2018, algorithm 2) in PyTorch, for comparison with `unbraid bench-step`.

The same work as ours: the sprites network (or the RGB one), batch 64, both networks stepped. Written as well as eager PyTorch
allows: no gradient for the discriminator's weights in the VAE step, no graph for the second encoding, fused Adam, and the faster
of the two memory formats (see --channels-last). Data lies in memory, the GPU's if there is one: rendering and uploading it costs
PyTorch nothing here.

    pip install torch numpy
    python benches/peers/torch_step.py --steps 60 [--device cuda]
"""

import argparse
import json
import resource
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn


def encoder(channels, hidden, latents):
    conv = lambda i, o: [nn.Conv2d(i, o, 4, 2, 1), nn.ReLU()]
    return nn.Sequential(
        *conv(channels, 32), *conv(32, 32), *conv(32, 64), *conv(64, 64),
        nn.Flatten(), nn.Linear(1024, hidden), nn.ReLU(), nn.Linear(hidden, 2 * latents),
    )


def decoder(channels, hidden, latents):
    conv = lambda i, o: [nn.ConvTranspose2d(i, o, 4, 2, 1), nn.ReLU()]
    return nn.Sequential(
        nn.Linear(latents, hidden), nn.ReLU(), nn.Linear(hidden, 1024), nn.ReLU(), nn.Unflatten(1, (64, 4, 4)),
        *conv(64, 64), *conv(64, 32), *conv(32, 32), nn.ConvTranspose2d(32, channels, 4, 2, 1),
    )


def discriminator(latents, layers, units):
    sizes = [latents] + [units] * layers
    hidden = [m for i, o in zip(sizes, sizes[1:]) for m in (nn.Linear(i, o), nn.LeakyReLU(0.2))]
    return nn.Sequential(*hidden, nn.Linear(units, 2))


def permute_dims(z):
    rows = torch.argsort(torch.rand_like(z), dim=0)
    return z.gather(0, rows)


def sample(code):
    mean, log_var = code.chunk(2, 1)
    return mean + (log_var * 0.5).exp() * torch.randn_like(mean), mean, log_var


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=60, help="steps timed")
    parser.add_argument("--warm-up", type=int, default=5, help="steps before them")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=0, help="0 takes all cores")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--tf32", action="store_true", help="let a GPU round the factors of products to TF32")
    parser.add_argument("--architecture", choices=["factor-vae-64", "factor-vae-64-rgb"], default="factor-vae-64")
    parser.add_argument("--latents", type=int, default=10)
    parser.add_argument("--gamma", type=float, default=35.0)
    parser.add_argument("--discriminator-layers", type=int, default=6, help="hidden layers")
    parser.add_argument("--channels-last", action="store_true", help="activations and kernels in channels-last order")
    parser.add_argument("--compile", action="store_true", help="torch.compile both networks")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = args.tf32
    device = torch.device(args.device)

    channels, hidden = (1, 128) if args.architecture == "factor-vae-64" else (3, 256)
    enc, dec = encoder(channels, hidden, args.latents), decoder(channels, hidden, args.latents)
    disc = discriminator(args.latents, args.discriminator_layers, 1000)
    layout = torch.channels_last if args.channels_last else torch.contiguous_format
    enc, dec, disc = enc.to(device, memory_format=layout), dec.to(device, memory_format=layout), disc.to(device)
    vae_adam = torch.optim.Adam([*enc.parameters(), *dec.parameters()], 1e-4, (0.9, 0.999), fused=True)
    disc_adam = torch.optim.Adam(disc.parameters(), 1e-4, (0.5, 0.9), fused=True)

    n = args.batch_size
    images = (torch.rand(8, 2 * n, channels, 64, 64) > 0.9).float()
    images = [batch.to(device).contiguous(memory_format=layout) for batch in images]
    joint, marginals = (make(n, dtype=torch.long, device=device) for make in (torch.zeros, torch.ones))

    def step(batch):
        x1, x2 = batch[:n], batch[n:]
        z, mean, log_var = sample(enc(x1))
        reconstruction = F.binary_cross_entropy_with_logits(dec(z), x1, reduction="sum") / n
        kl = 0.5 * (mean.square() + log_var.exp() - log_var - 1).sum(1).mean()
        disc.requires_grad_(False)
        logits = disc(z)
        loss = reconstruction + kl + args.gamma * (logits[:, 0] - logits[:, 1]).mean()
        vae_adam.zero_grad()
        loss.backward()
        vae_adam.step()

        disc.requires_grad_(True)
        with torch.no_grad():
            permuted = permute_dims(sample(enc(x2))[0])
        logits = disc(torch.cat([z.detach(), permuted]))
        disc_loss = 0.5 * (F.cross_entropy(logits[:n], joint) + F.cross_entropy(logits[n:], marginals))
        disc_adam.zero_grad()
        disc_loss.backward()
        disc_adam.step()
        return loss.item(), disc_loss.item()

    if args.compile:
        enc, dec, disc = torch.compile(enc), torch.compile(dec), torch.compile(disc)
    times = []
    for i in range(args.warm_up + args.steps):
        start = time.perf_counter()
        step(images[i % len(images)])
        if i >= args.warm_up:
            times.append(time.perf_counter() - start)
    times.sort()
    median = statistics.median(times)
    print(json.dumps({
        "torch": torch.__version__,
        "architecture": args.architecture,
        "batch_size": n,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "step_ms": round(1e3 * median, 2),
        "step_ms_quartiles": [round(1e3 * times[len(times) // 4], 2), round(1e3 * times[3 * len(times) // 4], 2)],
        "steps_per_s": round(1 / median, 2),
        "images_per_s": round(2 * n / median),
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }))


if __name__ == "__main__":
    main()
