"""The code and the requirements of the other frameworks' environments. `harness/frameworks.py` starts it.

graphs       the three graphs, run the way that another framework would serve them
lit          LitServe
bento        BentoML
rayserve     Ray Serve
*.txt        the requirements of each environment
"""
