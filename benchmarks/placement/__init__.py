"""Which operation runs on which device, and why not."""
