"""Reconstruction solvers for any linear forward model, independent of the package's options."""
