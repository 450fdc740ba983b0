"""What clients see: the OpenAI-compatible routes, their types, keys, limits and errors. It knows an engine
and a served model, not how they came to be, and no Ray.
"""
