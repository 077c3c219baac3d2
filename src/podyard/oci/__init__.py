"""Running containers by an OCI runtime under a monitor, and the OCI spec that says how.

    spec.py …      the OCI spec: pure functions over the request, the image and the host's facts
    runtime.py     crun, runc: their verbs
    monitor.py     conmon: creating a container, its exit file, its log
    probe.py       which OCI runtime works on this host, found by running a trial container
"""
