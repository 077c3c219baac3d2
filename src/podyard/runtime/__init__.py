"""RuntimeService: sandboxes, containers, exec, logs.

context.py            what all calls share
store.py              what is known, in memory; the database follows
messages.py           records as CRI messages
sandbox_*.py          RunPodSandbox, StopPodSandbox, RemovePodSandbox: each a list of steps
container_*.py        CreateContainer, StartContainer, StopContainer, RemoveContainer: likewise
criu.py               processes saved and let go; checkpoint_archive.py, pod_checkpoint.py: the files of checkpoints
rootfs.py             a container's root file system; volumes.py, relabel.py: what is mounted in it
exits.py              what happens when a container's process ends
restart.py            reconciling the database with the kernel at start
exec_process.py       commands in running containers
exec_sync.py          ExecSync
exec_stream.py        Exec, once its URL is used
attach.py             Attach, likewise
port_forward.py       PortForward, likewise
status.py             Version, Status, RuntimeConfig
calls/                the calls, one file for each noun
service.py            all of them together
"""
