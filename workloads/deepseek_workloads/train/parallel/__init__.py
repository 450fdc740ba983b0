"""One model over many ranks: who talks to whom (`meshes`), and a module for each way of sharing.

Each plan changes a model from outside before it has values: the parts that are shared are replaced by parts
of the same name that hold a slice and talk. `train.parallelise` puts the plans together.
"""
