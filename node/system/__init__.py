"""What the operating system gives a node: listeners, descriptors, timers of the kernel, tasks of
the loop."""
