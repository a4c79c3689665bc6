"""Whether this machine computes what the plugins promise: every kernel against NumPy.

problems.py has the problems, coverage.py finds those that reach each kernel of a device, and
verdicts.py runs them and compares.
"""
