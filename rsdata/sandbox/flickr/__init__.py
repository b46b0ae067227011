"""Flickr as the planet serves it: REST and image hosts, and lists of URLs whose fates are known."""
