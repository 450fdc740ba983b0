"""What a teacher foresees at the positions of datasets, computed once and stored to distil from."""
