"""What runs inside the frameworks' own environments, and what each needs. `harness/frameworks.py` starts it.

graphs       the three graphs, as somebody would run them who serves them from elsewhere
lit          behind LitServe
bento        behind BentoML
rayserve     behind Ray Serve
*.txt        what is installed for each
"""
