"""The training loop and what it stands on. It does not know who launched it (`launch`)."""
