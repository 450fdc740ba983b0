"""config.json of each class that a model can be exported as: which architectures it expresses, and how."""
