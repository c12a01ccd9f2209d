#!/usr/bin/env python3
"""Tests of instruction_mix.py, on listings and logs as llvm-objdump and QEMU write them."""

import unittest

from instruction_mix import CLASSES, classify, count, read_listing

ARM_LISTING = """\
00001000 <_ZN7unbraid7kernels7product3dsp10accumulateE>:
    1000:      \tldm.w\tr1!, {r2, r3}
    1004:      \tldr\tr4, [r2], #4
    1008:      \tldr\tr5, [r3], #4
    100c:      \tldr\tr0, [r5]
    100e:      \tsmlad\tr6, r4, r5, r6
    1012:      \tbne\t0x1000 <_ZN7unbraid7kernels7product3dsp10accumulateE> @ imm = #-22

00001014 <_ZN7unbraid8checksum7of_dataE>:
    1014:      \tldr\tr0, [r0]
"""
ARM_LOG = """\
IN: _ZN7unbraid7kernels7product3dsp10accumulateE
0x00001000:  e8b1 000c  ldm.w    r1!, {r2, r3}
0x00001004:  f852       .byte    0x52, 0xf8
0x00001006:  4b04 f853 5b04 6828 fb24 6605 d1f5  .byte    0x04, 0x4b

Trace 0: 0x7f00 [0/00001000/0/ff020200] _ZN7unbraid7kernels7product3dsp10accumulateE
Trace 0: 0x7f00 [0/00001000/0/ff020200] _ZN7unbraid7kernels7product3dsp10accumulateE
IN: _ZN7unbraid8checksum7of_dataE
0x00001014:  6800       ldr      r0, [r0]

Trace 0: 0x7f80 [0/00001014/0/ff020200] _ZN7unbraid8checksum7of_dataE
IN: _ZN7unbraid7kernels7product3dsp10accumulateE
0x00001000:  e8b1 000c  ldm.w    r1!, {r2, r3}

Trace 0: 0x7fc0 [0/00001000/0/ff020200] _ZN7unbraid7kernels7product3dsp10accumulateE
Trace 0: 0x7f00 [0/00001000/0/ff020200] _ZN7unbraid7kernels7product3dsp10accumulateE
"""

RISC_V_LISTING = """\
80000000 <_ZN7unbraid7kernels7product8portable10accumulateE>:
80000000:      \tlb\ta2, 0(a1)
80000004:      \tlb\ta3, 0(a2)
80000008:      \tmul\ta2, a3, a2
8000000c:      \tsw\ta2, 0(a0)
"""
RISC_V_LOG = """\
IN: _ZN7unbraid7kernels7product8portable10accumulateE
Priv: 3; Virt: 0
0x80000000:  00058603          lb                      a2,0(a1)
0x80000004:  00060683          lb                      a3,0(a2)
0x80000008:  02c68633          mul                     a2,a3,a2
0x8000000c:  00c52023          sw                      a2,0(a0)

Trace 0: 0x7f00 [00000000/80000000/00109003/ff020200] _ZN7unbraid7kernels7product8portable10accumulateE
"""


class Mix(unittest.TestCase):
    def counted(self, log, listing):
        total, counts = count(log.splitlines(), read_listing(listing))
        return total, {name: counts[name] for name in CLASSES if counts[name]}

    def test_kernels_are_counted_as_often_as_they_run(self):
        # The whole block three times, its first instruction once more. A load whose address was just loaded is not
        # pipelined. Branches go back after the first run of the block and after the short one.
        classes = {"load": 9, "pipelined": 3, "transferred": 8, "multiply": 3, "taken": 2}
        self.assertEqual(self.counted(ARM_LOG, ARM_LISTING), (19, classes))

    def test_risc_v(self):
        classes = {"load": 2, "store": 1, "multiply": 1}
        self.assertEqual(self.counted(RISC_V_LOG, RISC_V_LISTING), (4, classes))

    def test_classes(self):
        for instruction, expected in {
            "push {r4, r5, r6, lr}": ("transferred", 4),
            "pop {r0-r3, pc}": ("transferred", 5),
            "ldrd r0, r1, [r2]": ("transferred", 2),
            "ldrsb.w r0, [r2]": ("load", 1),
            "strb r0, [r2]": ("store", 1),
            "smull r0, r1, r2, r3": ("long_multiply", 1),
            "mulh a0,a1,a2": ("long_multiply", 1),
            "mla r0, r1, r2, r3": ("multiply", 1),
            "vmladav.s8 lr, q0, q1": ("vector", 1),
            "vldrb.u8 q0, [r1]": ("vector", 1),
            "vldr s0, [r1]": None,
            "add r0, r1": None,
            "sltu a0,a1,a2": None,
            "lui a0,16": None,
        }.items():
            mnemonic, operands = instruction.split(" ", 1)
            self.assertEqual(classify(mnemonic, operands), expected, instruction)


if __name__ == "__main__":
    unittest.main()
