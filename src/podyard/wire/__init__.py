"""Wire protocols of exec, attach and port-forward, without input or output: both ends use them, tests give them bytes.

spdy/             SPDY/3.1: framing, header compression, streams, windows
channels.py       channels in WebSocket messages
remotecommand.py  names, window sizes and statuses of exec and attach; the names of port-forward
"""
