"""Comparison of reconstruction methods."""
