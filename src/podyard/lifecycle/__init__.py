"""Pure decisions, without I/O: tested without root.

containers.py  which states of a container may follow which, and what an exit means
recovery.py    what a restart must do with what it finds
requests.py    what makes a request wrong, and when two requests are the same
"""
