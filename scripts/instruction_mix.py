#!/usr/bin/env python3
"""Counts which kinds of instructions the runtime's kernels execute, from a firmware program run in QEMU.

    python scripts/instruction_mix.py CORE qemu-system-... -kernel PROGRAM

Runs the command given, with a log of every block of instructions that is executed, and writes what the functions of
`unbraid::kernels` execute to the entry of CORE in runtime/firmware/mix.json, as shares of all their instructions:

    load, store       instructions that move one register
    pipelined         those right behind a load whose result is not their address
    transferred       registers that instructions for several move: ldm, stm, push, pop, ldrd, strd
    multiply          also with addition; long_multiply: 32 x 32 bits to 64
    vector            on 128 bits
    taken             branches that were taken; those that end a low-overhead loop are none

`unbraid-run profile --board` multiplies them by the cycles of the makers' manuals. Needs llvm-objdump: QEMU's own
disassembler does not know all instructions.
"""

import collections
import json
import pathlib
import re
import subprocess
import sys

MIX = pathlib.Path(__file__).resolve().parents[1] / "runtime" / "firmware" / "mix.json"
KERNELS = "7unbraid7kernels"
CLASSES = ["load", "store", "pipelined", "transferred", "multiply", "long_multiply", "vector", "taken"]

# An instruction in llvm-objdump's listing; in QEMU's log the head of a block, a piece of it, and an execution.
INSTRUCTION = re.compile(r"\s*([0-9a-f]+):\s+(\S+)\s*(.*)")
HEAD = re.compile(r"IN: (\S*)")
PIECE = re.compile(r"0x([0-9a-f]+):\s+((?:[0-9a-f]{4,8} ?)+)")
EXECUTED = re.compile(r"Trace \d+: (\S+) \[[0-9a-f]+/([0-9a-f]+)/")

MULTIPLE = re.compile(r"(ldm|stm|push|pop|ldrd|strd)")
LOAD = re.compile(r"(ldr|l[bhw]u?$|c\.lw)")
STORE = re.compile(r"(str|s[bhw]$|c\.sw)")
LONG_MULTIPLY = re.compile(r"([us]mull|[us]mlal|umaal|mulhs?u?$)")
MULTIPLY = re.compile(r"(mul|ml[as]|sm[lu][as]|smm|smul)")


def registers(operands):
    """How many registers a list like `{r4, r5, r7-r9, lr}` names."""
    count = 0
    for part in re.search(r"\{(.*)\}", operands)[1].split(","):
        ends = [int(end) for end in re.findall(r"r(\d+)", part)]
        count += ends[1] - ends[0] + 1 if len(ends) == 2 else 1
    return count


def classify(mnemonic, operands):
    """The class of an instruction and how often it counts; `None` for any that takes one cycle."""
    mnemonic = mnemonic.split(".")[0] if not mnemonic.startswith("c.") else mnemonic
    if mnemonic.startswith("v"):
        return ("vector", 1) if re.search(r"\bq\d", operands) else None
    if MULTIPLE.match(mnemonic):
        return "transferred", registers(operands) if "{" in operands else 2
    for name, pattern in [("long_multiply", LONG_MULTIPLY), ("load", LOAD), ("store", STORE), ("multiply", MULTIPLY)]:
        if pattern.match(mnemonic):
            return name, 1
    return None


def base(operands):
    """What the address of a load or store is made of: the inside of `[r1, #4]` or `4(a0)`."""
    found = re.search(r"\[(.*?)\]|\((.*?)\)", operands)
    return re.findall(r"\w+", found[0]) if found else []


class Block:
    """A block of instructions that QEMU translates at once."""

    def __init__(self, function):
        self.kernel = KERNELS in function
        self.executions = 0
        self.start = self.end = None

    def add(self, address, code):
        self.start = address if self.start is None else self.start
        self.end = address + len(code.replace(" ", "")) // 2

    def instructions(self, listing):
        """Mnemonic and operands of each."""
        return [listing[address] for address in range(self.start, self.end) if address in listing]

    def counts(self, listing):
        """How often each class occurs."""
        counts, loaded = collections.Counter(), None
        for mnemonic, operands in self.instructions(listing):
            name, count = classify(mnemonic, operands) or (None, 0)
            if name:
                counts[name] += count
            if name in ("load", "store") and loaded and loaded not in base(operands):
                counts["pipelined"] += 1
            loaded = operands.split(",")[0] if name == "load" else None
        return counts


def read_listing(text):
    """Mnemonic and operands by address."""
    found = map(INSTRUCTION.match, text.splitlines())
    return {int(line[1], 16): (line[2], line[3]) for line in found if line}


def count(log, listing):
    """Executions of the kernels' blocks: instructions, and how many of each class."""
    # By the place of their translation. Places are used again; an address may start several blocks, of other lengths.
    translated, blocks, steps = {}, [], collections.Counter()
    new = previous = None
    for line in log:
        if executed := EXECUTED.match(line):
            place, start = executed[1], int(executed[2], 16)
            if new and new.start == start:
                translated[place] = new
                blocks.append(new)
            new, block = None, translated[place]
            if previous and previous.kernel and previous.end != start:
                steps[previous] += 1
            block.executions += 1
            previous = block
        elif head := HEAD.match(line):
            new = Block(head[1])
        elif new and (piece := PIECE.match(line)):
            new.add(int(piece[1], 16), piece[2])
    total, counts = 0, collections.Counter()
    for block in filter(lambda block: block.kernel, blocks):
        instructions = block.instructions(listing)
        total += block.executions * len(instructions)
        for name, number in block.counts(listing).items():
            counts[name] += block.executions * number
        if instructions[-1][0] not in ("le", "letp"):
            counts["taken"] += steps[block]
    return total, counts


def main():
    if len(sys.argv) < 3 or sys.argv[1].startswith("-"):
        print(__doc__)
        sys.exit(0 if sys.argv[1:] in (["-h"], ["--help"]) else 2)
    core, *command = sys.argv[1:]
    if "-kernel" not in command[:-1]:
        sys.exit("expected a QEMU command with -kernel PROGRAM")
    objdump = ["llvm-objdump", "-d", "--no-show-raw-insn", command[command.index("-kernel") + 1]]
    listing = read_listing(subprocess.run(objdump, check=True, capture_output=True, text=True).stdout)
    command += ["-d", "in_asm,exec,nochain", "-D", "/dev/stderr"]
    silent = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    with subprocess.Popen(command, **silent, stderr=subprocess.PIPE, text=True) as run:
        total, counts = count(run.stderr, listing)
    if run.returncode:
        sys.exit(f"{command[0]}: exit status {run.returncode}")
    if not total:
        sys.exit(f"{core}: found no function of unbraid::kernels among those executed: the program needs its symbols")
    mixes = json.loads(MIX.read_text()) if MIX.exists() else {}
    mixes[core] = {name: round(counts[name] / total, 4) for name in CLASSES}
    lines = (f"  {json.dumps(name)}: {json.dumps(mixes[name])}" for name in sorted(mixes))
    MIX.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{core}: {total} instructions in kernels, {json.dumps(mixes[core])}")


if __name__ == "__main__":
    main()
