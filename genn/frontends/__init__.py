"""What stands between a sensor and a network: one definition for training, host and device."""
