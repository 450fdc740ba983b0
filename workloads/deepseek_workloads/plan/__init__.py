"""What a run needs and whether it is possible: presets, layout rules, memory and FLOP estimates. Torch-free.

The operator refuses with it before any pod exists, and the trainer refuses with it again: one set of rules.
"""
