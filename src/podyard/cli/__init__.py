"""The command line: Pods, containers and images of any CRI runtime, and the daemon of podyard itself.

    main       the command: finds the others; errors and signals become exit codes
    settings   where endpoints and formats come from: options, environment, files
    endpoint   a connection for one command
    resolve    what a name or an id on the command line stands for
    lookups    answers about many objects at once;  several: one action on several things
    view       a Pod's and a container's state in words
    output     tables, JSON, YAML, names;  units: ages, durations, sizes
    steps      work as it happens: live on a terminal, plain lines elsewhere;  transfer: a pull as it happens
    converse   this process' streams joined to a session's;  terminal: raw mode, size, keys;  standard: the streams
    places     the two sides of a copy;  pack, unpack: the archives between them
    loglines   log lines, with whose they are;  follow: a Pod's logs while it is supervised

Each other module is one command, imported when it is used, whose ``command`` is what the module is named after.

Nothing here imports grpc, protobuf or rich before a command needs it: the start is what one feels.
"""

from podyard.cli.main import main

__all__ = ["main"]
