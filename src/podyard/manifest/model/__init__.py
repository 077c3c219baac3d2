"""The objects of a Pod manifest. A class here is what podyard run obeys of core/v1, no more."""

from podyard.manifest.model.base import Object, canonical
from podyard.manifest.model.container import Container, ContainerPort, EnvVar, FieldRef, ResourceFieldRef, ValueFrom
from podyard.manifest.model.pod import DnsConfig, HostAlias, Metadata, Pod, PodSpec, is_sidecar
from podyard.manifest.model.probe import (
    Action,
    ExecAction,
    HttpGetAction,
    HttpHeader,
    Lifecycle,
    LifecycleHandler,
    Probe,
    SleepAction,
    TcpSocketAction,
)
from podyard.manifest.model.security import (
    AppArmorProfile,
    PodSecurityContext,
    SeccompProfile,
    SecurityContext,
    SELinuxOptions,
)
from podyard.manifest.model.volume import EmptyDir, HostPath, Volume, VolumeMount

__all__ = [
    "Action",
    "AppArmorProfile",
    "Container",
    "ContainerPort",
    "DnsConfig",
    "EmptyDir",
    "EnvVar",
    "ExecAction",
    "FieldRef",
    "HostAlias",
    "HostPath",
    "HttpGetAction",
    "HttpHeader",
    "Lifecycle",
    "LifecycleHandler",
    "Metadata",
    "Object",
    "Pod",
    "PodSecurityContext",
    "PodSpec",
    "Probe",
    "ResourceFieldRef",
    "SELinuxOptions",
    "SeccompProfile",
    "SecurityContext",
    "SleepAction",
    "TcpSocketAction",
    "ValueFrom",
    "Volume",
    "VolumeMount",
    "canonical",
    "is_sidecar",
]
