"""Networks whose predictions are recorded along training: the trainer of prediction space."""
