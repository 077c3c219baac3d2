"""Images: from registries and archives to unpacked layers.

config.py      what can be set
store.py       ImageStore: which images are here, pull, load, remove
install.py     brings what an image is made of to the disk, each layer once
sources.py     what the two kinds of source have in common
registry.py    a repository of a registry as a source: manifests, blobs, mirrors, retries
transport.py   one HTTP exchange with one endpoint: schemes, redirects, errors
auth.py        credentials and tokens
archive.py     OCI layouts and docker archives as a source
tarball.py     reads files out of a tar archive in place
manifest.py    manifests, indexes and configurations, parsed with limits
platforms.py   which variant of an image fits this host
content.py     verified files by digest
snapshots.py   unpacked layers
records.py     images and layers in the database
shared.py      work that several want is done once
progress.py    how far a pull is
counts.py      what pulls have done, counted and told in the log
metrics.py     that, and what is here, for Prometheus
service.py     the CRI's ImageService
layout.py      writes OCI layouts (for examples and tests)
busybox.py     a root file system out of the host's busybox, for the same
unpack/        unpacks one layer in a worker process
"""
