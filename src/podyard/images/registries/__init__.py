"""The configuration of registries that a host already has, for containerd, docker, podman or CRI-O.

endpoint.py         one place to ask for an image, and how it is spoken to
hosts_toml.py       containerd's directories of hosts.toml files, and docker's of certificates
registries_conf.py  containers' registries.conf, version 2
places.py           which endpoints are asked for a reference, in which order
keychain.py         credentials of auth.json and docker's config.json, and of credential helpers
proxies.py          HTTP_PROXY, HTTPS_PROXY and NO_PROXY

All files are read again for each pull: a change needs no restart.
"""
