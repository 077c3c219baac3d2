"""Volumes and where containers mount them."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from podyard.manifest.model.base import Object
from podyard.manifest.model.reference import FieldRef, ResourceFieldRef
from podyard.manifest.quantity import Quantity

DEFAULT_MODE = 0o644


class EmptyDir(Object, frozen=True, kw_only=True):
    medium: str = ""
    """"" for a disk, "Memory", "HugePages", or "HugePages-" and their size."""
    size_limit: Quantity | None = None


class HostPath(Object, frozen=True, kw_only=True):
    path: str
    type: Literal[
        "", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice"
    ] = ""


class KeyToPath(Object, frozen=True, kw_only=True):
    """A key of a ConfigMap or Secret as a file. ``mode``: in place of the volume's."""

    key: str
    path: str
    mode: int | None = None


class ConfigMapProjection(Object, frozen=True, kw_only=True):
    """Without ``items`` every key is a file."""

    name: str = ""
    items: tuple[KeyToPath, ...] = ()
    optional: bool = False


class ConfigMapVolume(ConfigMapProjection, frozen=True, kw_only=True):
    default_mode: int = DEFAULT_MODE


class SecretProjection(Object, frozen=True, kw_only=True):
    """Without ``items`` every key is a file."""

    name: str = ""
    items: tuple[KeyToPath, ...] = ()
    optional: bool = False


class SecretVolume(Object, frozen=True, kw_only=True):
    secret_name: str = ""
    items: tuple[KeyToPath, ...] = ()
    optional: bool = False
    default_mode: int = DEFAULT_MODE


class DownwardFile(Object, frozen=True, kw_only=True):
    path: str
    field_ref: FieldRef | None = None
    resource_field_ref: ResourceFieldRef | None = None
    mode: int | None = None


class DownwardProjection(Object, frozen=True, kw_only=True):
    items: tuple[DownwardFile, ...] = ()


class DownwardVolume(DownwardProjection, frozen=True, kw_only=True):
    default_mode: int = DEFAULT_MODE


class TokenProjection(Object, frozen=True, kw_only=True):
    """A token of the Pod's service account. ``audience`` "": for the API server itself."""

    path: str
    audience: str = ""
    expiration_seconds: int = 3600


class Projection(Object, frozen=True, kw_only=True):
    unsupported: ClassVar[frozenset[str]] = frozenset({"clusterTrustBundle", "podCertificate"})

    config_map: ConfigMapProjection | None = None
    secret: SecretProjection | None = None
    downward_api: DownwardProjection | None = None
    service_account_token: TokenProjection | None = None


class Projected(Object, frozen=True, kw_only=True):
    sources: tuple[Projection, ...] = ()
    default_mode: int = DEFAULT_MODE


class ImageVolume(Object, frozen=True, kw_only=True):
    reference: str
    pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None


class Volume(Object, frozen=True, kw_only=True):
    unsupported: ClassVar[frozenset[str]] = frozenset(
        {
            "awsElasticBlockStore",
            "azureDisk",
            "azureFile",
            "cephfs",
            "cinder",
            "csi",
            "ephemeral",
            "fc",
            "flexVolume",
            "flocker",
            "gcePersistentDisk",
            "gitRepo",
            "glusterfs",
            "iscsi",
            "nfs",
            "persistentVolumeClaim",
            "photonPersistentDisk",
            "portworxVolume",
            "quobyte",
            "rbd",
            "scaleIO",
            "storageos",
            "vsphereVolume",
        }
    )

    name: str
    empty_dir: EmptyDir | None = None
    host_path: HostPath | None = None
    config_map: ConfigMapVolume | None = None
    secret: SecretVolume | None = None
    downward_api: DownwardVolume | None = None
    projected: Projected | None = None
    image: ImageVolume | None = None

    @property
    def kinds(self) -> list[str]:
        """What the manifest says that it is: one field's name, when it was checked."""
        fields = msgspec.structs.fields(self)
        return [field.encode_name for field in fields if field.name != "name" and getattr(self, field.name) is not None]

    @property
    def projection(self) -> Projected | None:
        """The volume as a projection: configMap, secret and downwardAPI are projections of one source."""
        if self.config_map is not None:
            given = self.config_map
            source = ConfigMapProjection(name=given.name, items=given.items, optional=given.optional)
            return Projected(sources=(Projection(config_map=source),), default_mode=given.default_mode)
        if self.secret is not None:
            secret = self.secret
            own = SecretProjection(name=secret.secret_name, items=secret.items, optional=secret.optional)
            return Projected(sources=(Projection(secret=own),), default_mode=secret.default_mode)
        if self.downward_api is not None:
            fields = DownwardProjection(items=self.downward_api.items)
            return Projected(sources=(Projection(downward_api=fields),), default_mode=self.downward_api.default_mode)
        return self.projected


class VolumeMount(Object, frozen=True, kw_only=True):
    name: str
    mount_path: str
    read_only: bool = False
    recursive_read_only: Literal["Disabled", "IfPossible", "Enabled"] = "Disabled"
    sub_path: str = ""
    sub_path_expr: str = ""
    mount_propagation: Literal["None", "HostToContainer", "Bidirectional"] = "None"
