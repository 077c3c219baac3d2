"""The only place with ctypes and system calls.

libc.py        calls that the standard library lacks, with OSError on failure
mounts.py      mount, unmount, what is mounted
namespaces.py  namespaces pinned to files, without a process
userns.py      user namespaces: their id maps, and a process that holds one
idmap.py       private copies of mounts: with other owners, or read-only at all depths
netns.py       looking into pinned network namespaces
cgroups.py     cgroup v1, v2 and hybrid hosts
orphans.py     processes that tools leave behind
process.py     host tools run as subprocesses, watched through pidfds
confine.py     a worker process that gives up what it does not need
landlock.py    and may reach one directory only
seccomp.py     and may call what reads and writes files only
resolve.py     paths resolved inside a root, whatever the links in it say
"""
