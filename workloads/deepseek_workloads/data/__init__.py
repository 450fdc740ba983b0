"""Training data: its preparation (`prepare`), its order (`cursor`) and its way to the ranks (`stream`).

It does not know the model, Ray or Kubernetes.
"""
