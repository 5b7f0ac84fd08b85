"""How good a version is: its answers, their figures, calibration, plots, reports, and several folds as one."""
