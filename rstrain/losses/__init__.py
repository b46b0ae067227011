"""Pure functions of tensors: objectives and the gauges that watch them."""
