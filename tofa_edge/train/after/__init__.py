"""What follows training: testing subnets, the drop in integers, packing, evaluation."""
