"""Faults of one container."""

from __future__ import annotations

from collections.abc import Iterator

from podyard.manifest.checks.environment import check_environment
from podyard.manifest.checks.ports import check_ports
from podyard.manifest.checks.probes import check_probes
from podyard.manifest.checks.resources import check_resources
from podyard.manifest.checks.security import check_container_security
from podyard.manifest.checks.volumes import check_volume_mounts
from podyard.manifest.model import Container, EphemeralContainer, Lifecycle, Pod, Resources
from podyard.manifest.problems import Problem

MAX_RULES, MAX_CODES, MAX_CODE = 20, 255, 255
MAX_IMAGE = 1024
"""Characters of an image reference: a longer one is refused by every registry."""


def check_container(pod: Pod, container: Container, path: str) -> Iterator[Problem]:
    """Faults of the container that stands at ``path``."""
    if not container.image or container.image.strip() != container.image:
        yield Problem(0, f"{path}.image", "an image reference is not empty and has no blanks around it")
    elif len(container.image) > MAX_IMAGE:
        yield Problem(0, f"{path}.image", f"longer than {MAX_IMAGE} characters")
    if container.working_dir and not container.working_dir.startswith("/"):
        yield Problem(0, f"{path}.workingDir", f"{container.working_dir!r} is not an absolute path")
    if not container.termination_message_path.startswith("/"):
        text = f"{container.termination_message_path!r} is not an absolute path"
        yield Problem(0, f"{path}.terminationMessagePath", text)
    for field, words in (("command", container.command), ("args", container.args)):
        for index, word in enumerate(words):
            if "\0" in word:
                yield Problem(0, f"{path}.{field}[{index}]", "holds a NUL character")
    yield from _check_restarts(container, path)
    yield from check_environment(pod, container, path)
    yield from check_ports(container.ports, f"{path}.ports")
    yield from check_probes(pod, container, path)
    yield from check_resources(pod, container, path)
    yield from check_container_security(container.security_context, f"{path}.securityContext")
    yield from check_volume_mounts(pod.spec.volumes, container, path)
    if isinstance(container, EphemeralContainer):
        yield from _check_ephemeral(pod, container, path)


def _check_restarts(container: Container, path: str) -> Iterator[Problem]:
    rules = container.restart_policy_rules
    if rules and container.restart_policy is None:
        yield Problem(0, f"{path}.restartPolicyRules", "needs a restartPolicy for all other exit codes")
    if len(rules) > MAX_RULES:
        yield Problem(0, f"{path}.restartPolicyRules", f"at most {MAX_RULES} rules are allowed")
    for index, rule in enumerate(rules):
        where = f"{path}.restartPolicyRules[{index}].exitCodes.values"
        if not 1 <= len(rule.exit_codes.values) <= MAX_CODES:
            yield Problem(0, where, f"a rule names 1 to {MAX_CODES} exit codes")
        elif wrong := [code for code in rule.exit_codes.values if not 0 <= code <= MAX_CODE]:
            yield Problem(0, where, f"{wrong[0]} is not an exit code from 0 to {MAX_CODE}")


def _check_ephemeral(pod: Pod, container: EphemeralContainer, path: str) -> Iterator[Problem]:
    """It joins what runs: it claims nothing that the Pod would have to be made with, and nothing watches it."""
    target = container.target_container_name
    if target and target not in {known.name for known in pod.spec.containers}:
        yield Problem(0, f"{path}.targetContainerName", f"no container is called {target!r}")
    given = {
        "lifecycle": container.lifecycle != Lifecycle(),
        "livenessProbe": container.liveness_probe is not None,
        "ports": bool(container.ports),
        "readinessProbe": container.readiness_probe is not None,
        "resources": container.resources != Resources(),
        "restartPolicy": container.restart_policy is not None,
        "startupProbe": container.startup_probe is not None,
    }
    for field in [name for name, is_given in given.items() if is_given]:
        yield Problem(0, f"{path}.{field}", "an ephemeral container has none")
    if any(mount.sub_path or mount.sub_path_expr for mount in container.volume_mounts):
        yield Problem(0, f"{path}.volumeMounts", "an ephemeral container mounts whole volumes, no subPath")
