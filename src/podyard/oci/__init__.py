"""Running containers by an OCI runtime under a monitor, and the OCI spec that says how.

host.py        the host's facts, read once at the daemon's start
lookup.py      what a request's names stand for: users, devices, profiles (blocking)
spec.py        the OCI spec: a pure function of the request, the image, those facts and what was looked up
process.py … seccomp.py   its parts, one subject each, as pure
runtime.py     crun, runc: their verbs
idmaps.py      the id maps of a request
cdi.py         devices that vendors' files describe; cdi_edits.py makes their edits in a spec
apparmor.py    the default profile, and which ones the kernel has
monitor.py     conmon: creating a container, its exit file, its log
probe.py       which OCI runtime works on this host, found by running a trial container
"""
