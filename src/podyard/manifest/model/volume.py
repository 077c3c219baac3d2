"""Volumes and where containers mount them."""

from __future__ import annotations

from typing import ClassVar, Literal

from podyard.manifest.model.base import Object
from podyard.manifest.quantity import Quantity


class EmptyDir(Object, frozen=True, kw_only=True):
    medium: Literal["", "Memory"] = ""
    size_limit: Quantity | None = None


class HostPath(Object, frozen=True, kw_only=True):
    path: str
    type: Literal[
        "", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice"
    ] = ""


class Volume(Object, frozen=True, kw_only=True):
    unsupported: ClassVar[frozenset[str]] = frozenset(
        {
            "awsElasticBlockStore",
            "azureDisk",
            "azureFile",
            "cephfs",
            "cinder",
            "configMap",
            "csi",
            "downwardAPI",
            "ephemeral",
            "fc",
            "flexVolume",
            "flocker",
            "gcePersistentDisk",
            "gitRepo",
            "glusterfs",
            "image",
            "iscsi",
            "nfs",
            "persistentVolumeClaim",
            "photonPersistentDisk",
            "portworxVolume",
            "projected",
            "quobyte",
            "rbd",
            "scaleIO",
            "secret",
            "storageos",
            "vsphereVolume",
        }
    )

    name: str
    empty_dir: EmptyDir | None = None
    host_path: HostPath | None = None


class VolumeMount(Object, frozen=True, kw_only=True):
    name: str
    mount_path: str
    read_only: bool = False
    recursive_read_only: Literal["Disabled", "IfPossible", "Enabled"] = "Disabled"
    sub_path: str = ""
    sub_path_expr: str = ""
    mount_propagation: Literal["None", "HostToContainer", "Bidirectional"] = "None"
