"""How fast engines are on this machine, measured so that the figures can be compared."""
