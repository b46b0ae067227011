"""What archives say of the objects in their images: one parser a format, each to boxes in pixels."""
