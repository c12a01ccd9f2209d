#!/usr/bin/env python3
"""Compares what the firmware printed in QEMU with what is committed, and prints a table.

    scripts/firmware_budgets.py [--update] RESULTS CORE...

RESULTS has a folder for each core with the programs' outputs, as scripts/firmware.sh makes them. The outputs must be
those of runtime/firmware/expected/ but for figures, and figures within 2 % of runtime/firmware/budgets.json: a program
that got slower or larger has to be looked at, one that got better has to be written down. --update writes both anew.
Exits with 1 if something differs.
"""

import argparse
import json
import pathlib
import re
import struct
import sys

ROOT = pathlib.Path(__file__).parent.parent
FIRMWARE = ROOT / "runtime" / "firmware"
MODEL = ROOT / "models" / "sprites-factorvae" / "model.int8.safetensors"
TOLERANCE = 0.02
MEMORY = ("arena_bytes", "stack_bytes")

FIGURE = re.compile(r"\d+(?= (?:instructions|bytes of stack|bytes of arena))")
CALL = re.compile(r"(load|encode|decode): (\d+) instructions, (?:(\d+) bytes of arena, )?(\d+) bytes of stack")
LAYER = re.compile(r"  \d+ (\w+): (\d+) outputs, (\d+) multiply-adds, (\d+) instructions")


def read_figures(output):
    """The figures that a program printed, by call."""
    figures = {}
    for line in output.splitlines():
        if call := CALL.fullmatch(line):
            name, instructions, arena, stack = call.groups()
            figures[name] = {"instructions": int(instructions)}
            if arena:
                figures[name] |= {"arena_bytes": int(arena)}
            figures[name] |= {"stack_bytes": int(stack)}
        elif layer := LAYER.fullmatch(line):
            kind, *numbers = layer.groups()
            outputs, macs, instructions = map(int, numbers)
            row = {"kind": kind, "macs": macs, "outputs": outputs, "instructions": instructions}
            figures[name].setdefault("layers", []).append(row)
    return figures


def read_code_bytes(elf):
    """Bytes of code and of constants without the model; the vector table is the processor's, and left out."""
    data = elf.read_bytes()
    (start,) = struct.unpack_from("<I", data, 32)
    entry_bytes, count, names_index = struct.unpack_from("<HHH", data, 46)
    headers = [struct.unpack_from("<10I", data, start + index * entry_bytes) for index in range(count)]
    sizes = {"text": 0, "rodata": 0}
    for name, kind, flags, _, _, size, *_ in headers:
        name_start = headers[names_index][4] + name
        name = data[name_start : data.index(b"\0", name_start)].decode()
        program, loaded, executable = kind == 1, flags & 2, flags & 4
        if program and loaded and name != ".vector_table":
            sizes["text" if executable else "rodata"] += size
    return {"text": sizes["text"], "rodata": sizes["rodata"] - MODEL.stat().st_size}


def read_core(folder):
    """The entry of the budgets table of one core."""
    machine, target = (folder / "board.txt").read_text().split()
    figures = read_figures((folder / "demo.txt").read_text())
    color = read_figures((folder / "color.txt").read_text())
    figures["color"] = {call: {key: color[call][key] for key in MEMORY} for call in ("encode", "decode")}
    figures["code_bytes"] = read_code_bytes(folder / "size.elf")
    return {"machine": machine, "target": target} | figures | {"compact": read_compact(folder / "compact")}


def read_compact(folder):
    """What the runtime's feature `compact` saves and costs; memory is that of the other kernels, but for the stack."""
    figures = read_figures((folder / "demo.txt").read_text())
    calls = {call: {key: figures[call][key] for key in ("instructions", "stack_bytes")} for call in figures}
    return calls | {"code_bytes": read_code_bytes(folder / "size.elf")}


def without_figures(output):
    """An output in which figures that have a budget are masked."""
    return FIGURE.sub("#", output)


def flatten(value, path=()):
    """The leaves of nested dictionaries and lists, by path."""
    if isinstance(value, (dict, list)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {leaf: number for key, inner in items for leaf, number in flatten(inner, (*path, str(key))).items()}
    return {".".join(path): value}


def differences(budgets, measured):
    """What is beyond the budget, or better than it, one sentence each."""
    old, new = flatten(budgets), flatten(measured)
    for path in sorted(old.keys() | new.keys()):
        before, after = old.get(path), new.get(path)
        if before == after:
            continue
        if not isinstance(before, int) or not isinstance(after, int):
            yield f"{path}: {before} in budgets.json, {after} now"
        elif abs(after - before) > TOLERANCE * before:
            change = f"{(after / before - 1):+.1%}" if before else "from nothing"
            yield f"{path}: {before} in budgets.json, {after} now ({change})"


def to_json(value, indent=""):
    """JSON with a line for each innermost object."""
    inner = indent + "  "
    if isinstance(value, list):
        return "[\n" + ",\n".join(inner + to_json(item, inner) for item in value) + f"\n{indent}]"
    if isinstance(value, dict) and any(isinstance(item, (dict, list)) for item in value.values()):
        lines = (f"{inner}{json.dumps(key)}: {to_json(item, inner)}" for key, item in value.items())
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    return json.dumps(value)


def table(measured):
    """The main figures in columns."""
    row = "{:<12}{:>14}{:>14}{:>16}{:>16}{:>10}".format
    yield row("core", "encode", "decode", "encode", "decode", "code")
    yield row("", "instructions", "instructions", "arena + stack", "arena + stack", "bytes")
    for core, figures in measured.items():
        calls = [figures["encode"], figures["decode"]]
        memory = [f"{call['arena_bytes']} + {call['stack_bytes']}" for call in calls]
        yield row(core, *(call["instructions"] for call in calls), *memory, sum(figures["code_bytes"].values()))
        compact = figures["compact"]
        instructions = (compact[call]["instructions"] for call in ("encode", "decode"))
        yield row("  compact", *instructions, "", "", sum(compact["code_bytes"].values()))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--update", action="store_true")
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("cores", nargs="+")
    arguments = parser.parse_args()

    measured = {core: read_core(arguments.results / core) for core in arguments.cores}
    print("\n".join(table(measured)))
    outputs = {core: (arguments.results / core / "demo.txt").read_text() for core in arguments.cores}
    compact = {core: (arguments.results / core / "compact" / "demo.txt").read_text() for core in arguments.cores}
    expected = {core: FIRMWARE / "expected" / f"{core}.txt" for core in arguments.cores}
    budgets = FIRMWARE / "budgets.json"
    if arguments.update:
        budgets.write_text(to_json(measured) + "\n")
        for core, output in outputs.items():
            expected[core].write_text(output)
        return 0

    failures = [
        f"{core}: the output in {arguments.results / core / 'demo.txt'} is not that in {expected[core]}"
        for core, output in outputs.items()
        if without_figures(output) != without_figures(expected[core].read_text())
    ]
    failures += [
        f"{core}: the output with feature compact is not that of the core's kernel"
        for core, output in compact.items()
        if without_figures(output) != without_figures(outputs[core])
    ]
    failures += differences(json.loads(budgets.read_text()), measured)
    for failure in failures:
        print(failure, file=sys.stderr)
    if failures:
        print("if that is meant to be so: scripts/firmware.sh --update", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
