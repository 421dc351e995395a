"""Networks of several classes, trained one at a time in minibatches; their weights are kept.

Nothing is imported here on purpose: what only reads weights must not depend on the training code.
"""
