"""Whether new raw data are still like those that a dataset was made of."""
