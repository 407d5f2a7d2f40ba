"""Domain-free asyncio: racing, closing, backing off. Nothing here knows of images, peers or HTTP."""
