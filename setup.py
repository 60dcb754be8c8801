"""For tools that look for a setup.py; everything is in setup.cfg."""

from setuptools import setup

setup()
