"""How the data, the pixels and the noise are modelled."""
