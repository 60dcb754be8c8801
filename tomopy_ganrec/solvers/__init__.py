"""Solvers for any linear forward model; they know no options."""
