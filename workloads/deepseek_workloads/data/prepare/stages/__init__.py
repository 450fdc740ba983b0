"""What each kind of record stage does with one document: pure functions, one module a concern."""
