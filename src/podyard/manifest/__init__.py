"""Kubernetes Pod manifests, and what a kubelet makes of them.

    source     text → a tree that knows its lines
    decode     tree → the objects of ``model``, with every fault named by line and field
    checks     what types cannot say: names, duplicates, references, ranges
    translate  a Pod and what is known of the host → CRI requests; pure functions

``load`` does the first three.
"""

from podyard.manifest.load import load, parse

__all__ = ["load", "parse"]
