"""podyard: a Kubernetes container runtime, and a client for every CRI runtime."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("podyard")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0.0.0"
