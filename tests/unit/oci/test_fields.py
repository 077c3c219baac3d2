"""Every field of the pod and container configuration, and the test that covers it.

A field of the protocol that is not in the table fails here, and so does a line whose test is gone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor

from podyard.cri import api

TESTS = Path(__file__).parents[2]

WHOLE = {"Int64Value", "WindowsPodSandboxConfig", "WindowsContainerConfig"}
"""Messages that stand for one field: a number that may be unset, and what is refused as a whole."""

SANDBOX = "e2e/test_sandbox.py"
CONTAINER = "e2e/test_container.py"
CONTAINER_FIELDS = "e2e/test_container_fields.py"
FIELDS = "e2e/test_fields.py"
VOLUMES = "e2e/test_volume_fields.py"
HANDLERS = "e2e/test_handlers.py"
PLACES = "e2e/test_limit_fields.py"
USERNS = "e2e/test_user_namespaces.py"
MAPS = "unit/oci/test_idmaps.py::test_a_map_that_cannot_be_is_refused"
LIMITS = "unit/oci/test_resources.py::test_limits"
KEPT = f"{FIELDS}::test_overhead_and_resources_of_a_pod_are_kept"
INFRA_USER = "unit/oci/test_process.py::test_the_infra_process_has_the_sandboxs_user"
INFRA = "unit/oci/test_spec.py::test_the_infra_process_has_no_rights"
SANDBOX_LABELS = "unit/oci/test_lsm.py::test_a_sandbox_has_labels_too"
PORTS = f"{SANDBOX}::test_a_page_from_the_pods_address_and_from_a_host_port"

LIMIT_FIELDS = (
    "cpu_period",
    "cpu_quota",
    "cpu_shares",
    "memory_limit_in_bytes",
    "oom_score_adj",
    "cpuset_cpus",
    "cpuset_mems",
    "hugepage_limits.page_size",
    "hugepage_limits.limit",
    "unified",
    "memory_swap_limit_in_bytes",
)
MAPPING_FIELDS = ("host_id", "container_id", "length")
LABEL_FIELDS = ("user", "role", "type", "level")


def below(prefix: str, names: tuple[str, ...], test: str) -> dict[str, str]:
    return {f"{prefix}.{name}": test for name in names}


POD = {
    "metadata.name": f"{SANDBOX}::test_a_sandbox_from_run_to_remove",
    "metadata.uid": f"{SANDBOX}::test_a_sandbox_from_run_to_remove",
    "metadata.namespace": f"{SANDBOX}::test_a_sandbox_from_run_to_remove",
    "metadata.attempt": f"{SANDBOX}::test_another_configuration_under_the_same_name_is_refused",
    "hostname": f"{SANDBOX}::test_containers_share_network_ipc_and_host_name",
    "log_directory": "e2e/test_exec_and_logs.py::test_a_log_has_the_cri_format",
    "dns_config.servers": f"{SANDBOX}::test_dns_settings",
    "dns_config.searches": f"{SANDBOX}::test_dns_settings",
    "dns_config.options": f"{SANDBOX}::test_dns_settings",
    "port_mappings.protocol": PORTS,
    "port_mappings.container_port": PORTS,
    "port_mappings.host_port": PORTS,
    "port_mappings.host_ip": f"{FIELDS}::test_a_port_of_one_of_the_hosts_addresses",
    "labels": f"{SANDBOX}::test_a_sandbox_from_run_to_remove",
    "annotations": f"{SANDBOX}::test_a_sandbox_from_run_to_remove",
    "linux.cgroup_parent": f"{PLACES}::test_the_cgroup_of_the_client",
    "linux.security_context.namespace_options.network": f"{SANDBOX}::test_host_namespaces",
    "linux.security_context.namespace_options.pid": f"{SANDBOX}::test_a_shared_pid_namespace",
    "linux.security_context.namespace_options.ipc": f"{SANDBOX}::test_host_namespaces",
    "linux.security_context.namespace_options.target_id": f"{FIELDS}::test_a_sandbox_has_no_target",
    "linux.security_context.namespace_options.userns_options.mode": f"{USERNS}::test_root_inside_is_nobody_outside",
    **below("linux.security_context.namespace_options.userns_options.uids", MAPPING_FIELDS, MAPS),
    **below("linux.security_context.namespace_options.userns_options.gids", MAPPING_FIELDS, MAPS),
    **below("linux.security_context.selinux_options", LABEL_FIELDS, SANDBOX_LABELS),
    "linux.security_context.run_as_user": INFRA_USER,
    "linux.security_context.readonly_rootfs": INFRA,
    "linux.security_context.supplemental_groups": INFRA_USER,
    "linux.security_context.privileged": f"{CONTAINER_FIELDS}::test_a_privileged_container_needs_a_privileged_sandbox",
    "linux.security_context.seccomp_profile_path": INFRA,
    "linux.security_context.run_as_group": INFRA_USER,
    "linux.security_context.seccomp.profile_type": INFRA,
    "linux.security_context.seccomp.localhost_ref": INFRA,
    "linux.security_context.apparmor.profile_type": SANDBOX_LABELS,
    "linux.security_context.apparmor.localhost_ref": SANDBOX_LABELS,
    "linux.security_context.supplemental_groups_policy": INFRA_USER,
    "linux.sysctls": f"{SANDBOX}::test_sysctls",
    **below("linux.overhead", LIMIT_FIELDS, KEPT),
    **below("linux.resources", LIMIT_FIELDS, KEPT),
    "windows": f"{FIELDS}::test_windows_is_not_built",
}

SECURITY = "linux.security_context"
IMAGE_SPEC = f"{HANDLERS}::test_the_images_specification_comes_back"
USERS = f"{CONTAINER_FIELDS}::test_users_and_groups"
CAPABILITIES = f"{CONTAINER_FIELDS}::test_capabilities"
APPARMOR = f"{FIELDS}::test_an_apparmor_profile_that_the_host_has_not"
NODE_SECCOMP = f"{CONTAINER_FIELDS}::test_a_seccomp_profile_of_the_node"
PROCESS = f"{CONTAINER_FIELDS}::test_environment_directory_and_arguments"
LABELS = f"{FIELDS}::test_a_label_that_this_host_cannot_give"
OWN_MAPPINGS = f"{VOLUMES}::test_a_volume_with_mappings_of_its_own"

CONTAINERS = {
    "metadata.name": f"{CONTAINER}::test_the_same_container_again_returns_the_same_id",
    "metadata.attempt": f"{CONTAINER}::test_the_same_container_again_returns_the_same_id",
    "image.image": f"{CONTAINER}::test_a_missing_image_is_named",
    "image.annotations": IMAGE_SPEC,
    "image.user_specified_image": IMAGE_SPEC,
    "image.runtime_handler": IMAGE_SPEC,
    "image.image_ref": f"{FIELDS}::test_another_image_than_the_one_that_is_meant",
    "command": f"{CONTAINER}::test_a_program_that_does_not_exist",
    "args": PROCESS,
    "working_dir": PROCESS,
    "envs.key": PROCESS,
    "envs.value": PROCESS,
    "mounts.container_path": f"{CONTAINER_FIELDS}::test_mounts",
    "mounts.host_path": f"{CONTAINER_FIELDS}::test_mounts",
    "mounts.readonly": f"{CONTAINER_FIELDS}::test_mounts",
    "mounts.selinux_relabel": LABELS,
    "mounts.propagation": f"{VOLUMES}::test_mounts_made_later",
    **below("mounts.uidMappings", MAPPING_FIELDS, OWN_MAPPINGS),
    **below("mounts.gidMappings", MAPPING_FIELDS, OWN_MAPPINGS),
    "mounts.recursive_read_only": f"{VOLUMES}::test_read_only_at_all_depths",
    "mounts.image.image": f"{VOLUMES}::test_an_image_as_a_volume",
    "mounts.image.annotations": IMAGE_SPEC,
    "mounts.image.user_specified_image": IMAGE_SPEC,
    "mounts.image.runtime_handler": IMAGE_SPEC,
    "mounts.image.image_ref": f"{FIELDS}::test_another_image_than_the_one_that_is_meant",
    "mounts.image_sub_path": f"{VOLUMES}::test_a_directory_of_an_image_as_a_volume",
    "mounts.mount_options": f"{VOLUMES}::test_mount_options",
    "devices.container_path": f"{CONTAINER_FIELDS}::test_devices",
    "devices.host_path": f"{FIELDS}::test_a_device_whose_host_path_is_a_link",
    "devices.permissions": f"{CONTAINER_FIELDS}::test_devices",
    "labels": f"{CONTAINER}::test_a_container_from_create_to_remove",
    "annotations": f"{CONTAINER}::test_a_container_from_create_to_remove",
    "log_path": f"{FIELDS}::test_a_log_outside_its_directory",
    "stdin": "unit/oci/test_containers.py::test_standard_input",
    "stdin_once": "unit/oci/test_containers.py::test_standard_input",
    "tty": "e2e/test_exec_and_logs.py::test_a_terminal_writes_to_stdout_alone",
    **below("linux.resources", LIMIT_FIELDS, LIMITS),
    "linux.resources.memory_limit_in_bytes": f"{CONTAINER_FIELDS}::test_limits_reach_the_cgroup",
    "linux.resources.oom_score_adj": f"{PLACES}::test_oom_score_adj",
    "linux.resources.cpuset_cpus": f"{PLACES}::test_processors_of_a_container",
    "linux.resources.cpuset_mems": f"{PLACES}::test_processors_of_a_container",
    "linux.resources.unified": f"{PLACES}::test_files_of_cgroup_v2",
    f"{SECURITY}.capabilities.add_capabilities": CAPABILITIES,
    f"{SECURITY}.capabilities.drop_capabilities": CAPABILITIES,
    f"{SECURITY}.capabilities.add_ambient_capabilities": f"{FIELDS}::test_ambient_capabilities",
    f"{SECURITY}.privileged": f"{CONTAINER_FIELDS}::test_privileged",
    f"{SECURITY}.namespace_options.network": f"{SANDBOX}::test_host_namespaces",
    f"{SECURITY}.namespace_options.pid": f"{SANDBOX}::test_a_shared_pid_namespace",
    f"{SECURITY}.namespace_options.ipc": f"{SANDBOX}::test_host_namespaces",
    f"{SECURITY}.namespace_options.target_id": f"{FIELDS}::test_a_shared_pid_namespace_with_one_container",
    f"{SECURITY}.namespace_options.userns_options.mode": (
        "unit/oci/test_idmaps.py::test_another_namespace_than_the_pods_is_refused"
    ),
    **below(
        f"{SECURITY}.namespace_options.userns_options.uids",
        MAPPING_FIELDS,
        f"{USERNS}::test_mappings_that_cannot_be_are_refused",
    ),
    **below(
        f"{SECURITY}.namespace_options.userns_options.gids",
        MAPPING_FIELDS,
        f"{USERNS}::test_mappings_that_cannot_be_are_refused",
    ),
    **below(f"{SECURITY}.selinux_options", LABEL_FIELDS, "unit/oci/test_lsm.py::test_the_selinux_label_has_defaults"),
    f"{SECURITY}.run_as_user": USERS,
    f"{SECURITY}.run_as_username": USERS,
    f"{SECURITY}.readonly_rootfs": f"{CONTAINER_FIELDS}::test_a_read_only_root",
    f"{SECURITY}.supplemental_groups": USERS,
    f"{SECURITY}.apparmor_profile": APPARMOR,
    f"{SECURITY}.seccomp_profile_path": f"{FIELDS}::test_the_deprecated_name_of_a_seccomp_profile",
    f"{SECURITY}.no_new_privs": f"{CONTAINER_FIELDS}::test_no_new_privileges",
    f"{SECURITY}.run_as_group": f"{CONTAINER_FIELDS}::test_a_group_without_a_user_is_refused",
    f"{SECURITY}.masked_paths": f"{CONTAINER_FIELDS}::test_masked_and_read_only_paths",
    f"{SECURITY}.readonly_paths": f"{FIELDS}::test_a_read_only_path_of_the_request",
    f"{SECURITY}.seccomp.profile_type": f"{CONTAINER_FIELDS}::test_seccomp",
    f"{SECURITY}.seccomp.localhost_ref": NODE_SECCOMP,
    f"{SECURITY}.apparmor.profile_type": "e2e/test_apparmor.py::test_the_default_profile",
    f"{SECURITY}.apparmor.localhost_ref": APPARMOR,
    f"{SECURITY}.supplemental_groups_policy": f"{FIELDS}::test_only_the_groups_that_were_asked_for",
    "windows": f"{FIELDS}::test_windows_is_not_built",
    "CDI_devices.name": f"{HANDLERS}::test_cdi_devices_by_field_and_by_annotation",
    "stop_signal": f"{FIELDS}::test_the_signal_that_the_request_wants",
}


def fields(message: Descriptor, prefix: str = "") -> Iterator[str]:
    for field in message.fields:
        inner = field.message_type
        if inner is None or inner.GetOptions().map_entry or inner.name in WHOLE:
            yield prefix + field.name
        else:
            yield from fields(inner, f"{prefix}{field.name}.")


@pytest.mark.parametrize(
    ("message", "table"), [(api.PodSandboxConfig, POD), (api.ContainerConfig, CONTAINERS)], ids=["pod", "container"]
)
def test_every_field_is_in_the_table(message: type, table: dict[str, str]) -> None:
    assert sorted(fields(message.DESCRIPTOR)) == sorted(table)  # type: ignore[attr-defined]


@pytest.mark.parametrize("test", sorted({*POD.values(), *CONTAINERS.values()}))
def test_every_test_of_the_table_is_there(test: str) -> None:
    file, _, name = test.partition("::")
    assert re.search(rf"^(async )?def {name}\(", (TESTS / file).read_text(encoding="utf-8"), re.MULTILINE), test
