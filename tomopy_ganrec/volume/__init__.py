"""Many slices: planned, reconstructed on the devices of this machine or of a Dask cluster."""
