"""Kubernetes Pod manifests, and what a kubelet makes of them.

    source     text → a tree that knows its lines
    decode     tree → the objects of ``model``, with every fault named by line and field
    checks     what types cannot say: names, duplicates, references, ranges
    objects    ConfigMaps and Secrets, of manifests or of elsewhere
    translate  a Pod and what is known of the host → CRI requests; pure functions

``load`` does the first three.
"""

from podyard.manifest.load import Manifest, load, parse

__all__ = ["Manifest", "load", "parse"]
