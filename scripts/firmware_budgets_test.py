#!/usr/bin/env python3
"""Checks the check: what firmware_budgets.py has to see, it sees.

    python3 scripts/firmware_budgets_test.py
"""

import copy
import json
import unittest

import firmware_budgets

OUTPUT = """\
load: 400 instructions, 30 bytes of stack
encode: 1000 instructions, 100 bytes of arena, 20 bytes of stack
  0 conv2d: 8 outputs, 64 multiply-adds, 900 instructions
decode: 2000 instructions, 90 bytes of arena, 10 bytes of stack
  0 linear: 4 outputs, 16 multiply-adds, 1900 instructions
SHA-256 of the pixels: 12ab
"""
BUDGETS = firmware_budgets.read_figures(OUTPUT)


def changed(*path, by):
    """The budgets with one figure multiplied."""
    budgets = copy.deepcopy(BUDGETS)
    *parents, last = path
    inner = budgets
    for key in parents:
        inner = inner[key]
    inner[last] = round(inner[last] * by)
    return list(firmware_budgets.differences(BUDGETS, budgets))


class Budgets(unittest.TestCase):
    def test_reads_what_the_firmware_prints(self):
        self.assertEqual(BUDGETS["load"], {"instructions": 400, "stack_bytes": 30})
        layers = [{"kind": "linear", "macs": 16, "outputs": 4, "instructions": 1900}]
        decode = {"instructions": 2000, "arena_bytes": 90, "stack_bytes": 10, "layers": layers}
        self.assertEqual(BUDGETS["decode"], decode)

    def test_two_percent_pass(self):
        self.assertEqual(changed("encode", "instructions", by=1.02), [])
        self.assertEqual(changed("encode", "instructions", by=0.98), [])

    def test_more_fails_with_both_figures(self):
        message = "encode.instructions: 1000 in budgets.json, 1030 now (+3.0%)"
        self.assertEqual(changed("encode", "instructions", by=1.03), [message])
        self.assertEqual(len(changed("decode", "layers", 0, "instructions", by=1.03)), 1)
        self.assertEqual(len(changed("encode", "arena_bytes", by=1.03)), 1)
        self.assertEqual(len(changed("decode", "stack_bytes", by=1.1)), 1)

    def test_less_fails_too(self):
        message = "decode.instructions: 2000 in budgets.json, 1000 now (-50.0%)"
        self.assertEqual(changed("decode", "instructions", by=0.5), [message])

    def test_a_figure_that_is_not_there_fails(self):
        missing = {key: value for key, value in BUDGETS.items() if key != "load"}
        self.assertEqual(len(list(firmware_budgets.differences(BUDGETS, missing))), 2)
        self.assertEqual(len(list(firmware_budgets.differences(missing, BUDGETS))), 2)

    def test_outputs_differ_by_figures_only(self):
        masked = firmware_budgets.without_figures(OUTPUT)
        self.assertEqual(masked, firmware_budgets.without_figures(OUTPUT.replace("1000", "1234")))
        self.assertNotEqual(masked, firmware_budgets.without_figures(OUTPUT.replace("12ab", "12ac")))
        self.assertNotEqual(masked, firmware_budgets.without_figures(OUTPUT.replace("64 multiply", "65 multiply")))

    def test_json_comes_back(self):
        self.assertEqual(json.loads(firmware_budgets.to_json(BUDGETS)), BUDGETS)


if __name__ == "__main__":
    unittest.main(verbosity=0)
