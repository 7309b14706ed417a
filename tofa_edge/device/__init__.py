"""What this machine is and how it is doing: processor, memory, clocks, heat, read from files."""
