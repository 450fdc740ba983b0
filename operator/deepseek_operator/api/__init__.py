"""The resources of `deepseek.dev/v1alpha1` as types. `deepseek_operator.generate` makes the CRDs.

It knows no Kubernetes client and decides nothing: bounds and CEL rules only; the rest is in `validation`.
"""
