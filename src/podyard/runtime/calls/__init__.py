"""The calls of the RuntimeService, one file for each noun, one method for each call, named as the protocol names it.

    base.py        what they share
    node.py        Version, Status, RuntimeConfig, UpdateRuntimeConfig
    sandboxes.py   pod sandboxes
    containers.py  containers, ExecSync, logs
    update.py      changed limits of containers and sandboxes
    checkpoint.py  checkpoints
    events.py      GetContainerEvents
    streams.py     the lists as streams
    stats.py       use and metrics
    streaming.py   Exec, Attach, PortForward

Requests are checked here, before anything is touched; what changes the host is an operation.
"""
