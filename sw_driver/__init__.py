"""Host protocol, transports and sessions; needs numpy, and pyserial for a serial port."""
