"""podyard: a Kubernetes container runtime, and a client for every CRI runtime."""


def __getattr__(name: str) -> str:
    """``__version__``, looked up when it is first asked for: that takes a third of the command line's start."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        found = version("podyard")
    except PackageNotFoundError:  # run from a source tree that is not installed
        found = "0.0.0"
    globals()[name] = found
    return found
