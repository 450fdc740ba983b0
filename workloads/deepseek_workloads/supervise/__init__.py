"""PID 1 of every pod: starts, watches and restarts the pod's processes, and speaks for the pod.

Two pure state machines decide (`coordinator_machine`, `worker_machine`: an event in, actions out); thin
edges do processes, sockets and files. It starts without torch and Ray, so it answers within a fraction of
a second and survives what breaks them. It does not know what is trained.
"""
