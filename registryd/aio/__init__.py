"""Domain-free asyncio: racing, closing, backing off. No module here knows of images, peers or HTTP."""
