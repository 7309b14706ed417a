"""A network at work: `Model`, predictions, streams of frames, the explanation of the choice."""
