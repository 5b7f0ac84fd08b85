"""How it is timed. Each file stands alone or on others in here.

client       an HTTP client that costs next to nothing
sink         a server that costs next to nothing
load         closed and open loops of requests, from a process of its own
steady       clients that ask on while something happens to the service
processes    a service as a tree of processes: started, weighed, stopped
frameworks   the other frameworks: installed, started
alone        the engine in a process of its own, without a service
turns        two processes timed by turns
work         the operations that a graph runs, counted
ceiling      the most that onnxruntime gets out of this machine
machine      where a figure comes from, and where it is kept
"""
