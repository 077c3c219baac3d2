"""Plain types without I/O, shared by the runtime, the client and the command line."""
