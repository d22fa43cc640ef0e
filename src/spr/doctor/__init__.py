"""`spr doctor`: is this machine ready, does every dialect read what it writes, and in which frame does a model write?

Looks and reports; nothing here is part of a run, and nothing is chosen for anyone.
"""
