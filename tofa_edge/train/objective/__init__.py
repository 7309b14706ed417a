"""What a step minimises: losses, pseudo-labels, class prior, teachers."""
