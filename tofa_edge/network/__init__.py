"""What a backend is given: layers with folded arrays; slicing; 8-bit rounding as a value."""
