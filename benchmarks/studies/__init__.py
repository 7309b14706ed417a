"""Commands behind the figures that the pages quote. Not in the wheel."""
