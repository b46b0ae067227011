"""Calls to services that others run: how often, how long, and again or not."""
