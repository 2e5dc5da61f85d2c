"""The places where an endpoint can be, a module or package each, with a function `connect`.

Each keeps the contract in `deployment.target` and is imported when it is first asked for, as most need clients that the
wheel does not bring along. Start reading at `local`.
"""
