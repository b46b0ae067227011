"""Flickr: photo ids of URLs, places and licences by its API, images by its hosts."""
