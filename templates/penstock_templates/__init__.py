"""Jinja2 templates for what the backends emit; loaded by `penstock_backends.rendering`."""
