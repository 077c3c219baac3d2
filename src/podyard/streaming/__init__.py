"""The streaming server: what Exec, Attach and PortForward lead to."""
