"""Models of the data: pixels, noise, regularisation and constraints."""
