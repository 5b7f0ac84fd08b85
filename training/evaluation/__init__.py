"""How good a version is: what it answered, the figures of that, plots, a report, and several folds as one."""
