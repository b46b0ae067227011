"""A place in its seasons, whoever provides it: the grid, the choice of scenes, the sample."""
