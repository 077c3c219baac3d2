"""What is wrong with a path, or ""."""

from __future__ import annotations


def sub_path_fault(text: str) -> str:
    """A path inside a volume."""
    if text.startswith("/"):
        return f"{text!r} must be relative to the volume"
    if ".." in text.split("/"):
        return f"{text!r} must not hold '..'"
    return "holds a NUL character" if "\0" in text else ""


def path_fault(text: str) -> str:
    """A path on the host or in a container."""
    if not text.startswith("/"):
        return f"{text!r} is not an absolute path"
    if ".." in text.split("/"):
        return f"{text!r} must not hold '..'"
    if ":" in text or "\0" in text:
        return f"{text!r} must not hold ':' or NUL"
    return ""
