"""Host protocol, transports and sessions; needs numpy only."""
