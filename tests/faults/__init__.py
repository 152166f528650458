"""The fault campaign: files dropped into a local stack while everything beneath it breaks, then every sum checked."""
