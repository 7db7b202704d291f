"""Running virtual machines behind one backend interface: watch, resize, wait, explain."""
