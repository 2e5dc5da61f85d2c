"""The code that runs in a container or server process, beside a model.

It imports nothing of the wheel but its own neighbours, as most of it is copied to where the wheel is not installed, so
this room has no names to export. Start reading at `score`.
"""
