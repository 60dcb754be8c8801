"""Whole volumes: planned in batches of slices, reconstructed on the devices of this machine or on a Dask cluster."""
