"""Tests that start real Jupyter kernels."""
