"""What the inference scripts of this folder share: test images, timing and the line that is printed."""

import json
import pathlib
import platform
import statistics
import time

import numpy

SHIPPED = pathlib.Path(__file__).resolve().parents[2] / "models" / "sprites-factorvae"


def options(parser):
    """The command line of an inference script."""
    parser.add_argument("--model", type=pathlib.Path, default=SHIPPED, help="a model directory of the sprites network")
    parser.add_argument("--rounds", type=int, default=30, help="rounds, each of which gives a median")
    parser.add_argument("--runs", type=int, default=100, help="images in a round")
    return parser.parse_args()


def sprites(count, seed=0):
    """Squares and ellipses as in dSprites, (count, 64, 64) of 0 and 1 in f32."""
    random = numpy.random.default_rng(seed)
    y, x = numpy.mgrid[:64, :64] + 0.5
    images = numpy.empty((count, 64, 64), numpy.float32)
    for image in images:
        (cx, cy), angle, scale = random.uniform(16, 48, 2), random.uniform(0, 2 * numpy.pi), random.uniform(0.5, 1)
        u = ((x - cx) * numpy.cos(angle) - (y - cy) * numpy.sin(angle)) / scale
        v = ((x - cx) * numpy.sin(angle) + (y - cy) * numpy.cos(angle)) / scale
        square = (abs(u) <= 9.6) & (abs(v) <= 9.6)
        ellipse = (u / 12.77) ** 2 + (v / 7.213) ** 2 <= 1
        image[:] = square if random.random() < 0.5 else ellipse
    return images


def measure(calls, rounds, runs):
    """Times calls by name, in turn: the median and the least of the rounds' medians, in µs."""
    medians = {name: [] for name in calls}
    for call in calls.values():
        for _ in range(runs):
            call()
    for _ in range(rounds):
        for name, call in calls.items():
            times = []
            for _ in range(runs):
                start = time.perf_counter_ns()
                call()
                times.append(time.perf_counter_ns() - start)
            medians[name].append(statistics.median(times) / 1e3)
    figures = lambda m: {"median_us": round(statistics.median(m), 1), "least_us": round(min(m), 1)}
    return {name: figures(of_rounds) for name, of_rounds in medians.items()}


def cpu():
    """The processor's name, as far as the system says it."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    fields = dict(line.split(":", 1) for line in lines[:30] if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    if "model name" not in fields:
        return platform.processor() or platform.machine()
    numbers = [f"{key} {fields[key]}" for key in ("cpu family", "model") if key in fields]
    return f"{fields['model name']} ({', '.join(numbers)})" if numbers else fields["model name"]


def report(runtime, version, type, times, error, args):
    """One line of JSON for a runtime and number type; `error` is the mean over pixels of what a round trip changes."""
    print(json.dumps({
        "runtime": runtime,
        "version": version,
        "type": type,
        "threads": 1,
        "batch_size": 1,
        **times,
        "reconstruction_error": round(float(error), 4),
        "rounds": args.rounds,
        "runs": args.runs,
        "cpu": cpu(),
    }), flush=True)
