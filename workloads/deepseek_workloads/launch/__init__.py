"""Starts the same work in several ways: on a pod set under Ray (`ray_*`) or Horovod (`horovod*`), or in this
process and its children (`local`). It does not know what a step of training is.
"""
