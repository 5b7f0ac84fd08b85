"""The tools that time a workload, and know nothing of it.

client       an HTTP client that costs next to nothing
sink         a server that costs next to nothing
load         closed and open loops of requests, from a separate process
steady       clients that keep asking while a fault happens to the service
processes    a service as a tree of processes: started, measured, stopped
frameworks   the other frameworks: installed and started
alone        the engine in a separate process, without a service
turns        two processes that are timed in turn
work         the number of operations that a graph runs
ceiling      the peak rate of onnxruntime on this machine
machine      the machine that a figure comes from, and the file that keeps it
"""
