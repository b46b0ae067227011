"""Google Earth Engine through its own client: sessions, listings of scenes, pixels on an exact grid."""
