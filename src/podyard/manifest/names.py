"""The forms of Kubernetes names. Each function returns what is wrong with a value, or ""."""

from __future__ import annotations

import re

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_QUALIFIED = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_PORT = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_DATA_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_SYSCTL = re.compile(r"[a-z0-9]([-_a-z0-9]*[a-z0-9])?([./][a-z0-9]([-_a-z0-9]*[a-z0-9])?)*")


def label_fault(text: str) -> str:
    """RFC 1123 label: container and volume names, host names."""
    if len(text) > 63:
        return f"{text[:20]!r}… has {len(text)} characters; at most 63 are allowed"
    if not _LABEL.fullmatch(text):
        return f"{text!r} is not a name: lower-case letters, digits and '-', a letter or digit at both ends"
    return ""


def subdomain_fault(text: str) -> str:
    """RFC 1123 subdomain: pod names, host names of an alias."""
    if len(text) > 253:
        return f"{text[:20]!r}… has {len(text)} characters; at most 253 are allowed"
    if not all(_LABEL.fullmatch(part) for part in text.split(".")):
        return f"{text!r} is not a name: lower-case letters, digits, '-' and '.', a letter or digit at both ends"
    return ""


def key_fault(text: str) -> str:
    """Key of a label or an annotation: an optional DNS prefix and "/", then a name."""
    prefix, slash, name = text.rpartition("/")
    if slash and subdomain_fault(prefix):
        return f"the prefix of the key {text!r} is not a DNS name"
    if len(name) > 63 or not _QUALIFIED.fullmatch(name):
        return f"{text!r} is not a key: at most 63 letters, digits, '-', '_' and '.', a letter or digit at both ends"
    return ""


def label_value_fault(text: str) -> str:
    """Value of a label."""
    if text and (len(text) > 63 or not _QUALIFIED.fullmatch(text)):
        return f"{text[:80]!r} is not a label value: at most 63 letters, digits, '-', '_' and '.'"
    return ""


def variable_fault(text: str) -> str:
    """Name of an environment variable: printable ASCII without "=" (the rule since Kubernetes 1.30)."""
    if not text or not all(" " <= character <= "~" and character != "=" for character in text):
        return f"{text!r} is not a variable name: printable ASCII characters without '='"
    return ""


def port_name_fault(text: str) -> str:
    """Name of a port (IANA_SVC_NAME): at most 15 characters, with a letter."""
    if len(text) > 15 or not _PORT.fullmatch(text) or text.replace("-", "").isdigit():
        return f"{text!r} is not a port name: at most 15 lower-case letters, digits and '-', one of them a letter"
    return ""


def sysctl_fault(text: str) -> str:
    """Name of a kernel parameter, with dots or slashes."""
    if len(text) > 253 or not _SYSCTL.fullmatch(text):
        return f"{text[:80]!r} is not a kernel parameter's name"
    return ""


def data_key_fault(text: str) -> str:
    """Key of a ConfigMap or Secret, which becomes a file's name."""
    if not _DATA_KEY.fullmatch(text) or text == "." or text.startswith(".."):
        return f"{text[:80]!r} is not a key: at most 253 letters, digits, '-', '_' and '.', not beginning with '..'"
    return ""
