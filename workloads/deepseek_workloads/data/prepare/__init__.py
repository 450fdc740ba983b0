"""From raw objects to a dataset: read, the stages of a pipeline, a tokenizer, tokenise, publish.

verdict = pipeline.prepare(run, open_store=open_store, executor=LocalExecutor(threads=2), report=print)

Stages are functions of their input alone and leave a record for each part, so a restart repeats at most one
part of one stage. Nothing here knows Ray or Kubernetes: an Executor runs the parts wherever it likes.

The package imports nothing: preflight, which every job begins with, takes single modules of it.
"""
