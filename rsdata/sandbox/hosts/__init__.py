"""Hosts of files: the archives of the planet over plain HTTP and over S3."""

from rsdata.sandbox.hosts.routes import routes

__all__ = ["routes"]
