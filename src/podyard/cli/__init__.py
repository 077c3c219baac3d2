"""The command line: Pods, containers and images of any CRI runtime, and the daemon of podyard itself.

    main       the command and its groups; errors and signals become exit codes
    settings   where endpoints and formats come from: options, environment, files
    endpoint   a connection for one command
    resolve    what a name or an id on the command line stands for
    view       a Pod's and a container's state in words
    output     tables, JSON, YAML, names
    units      ages, durations, sizes
    steps      work as it happens: live on a terminal, plain lines elsewhere
    transfer   a pull as it happens
    follow     a Pod's logs while it is supervised
    commands/  one module for each command, imported when it is used

Nothing here imports grpc, protobuf or rich before a command needs it: the start is what one feels.
"""

from podyard.cli.main import main

__all__ = ["main"]
