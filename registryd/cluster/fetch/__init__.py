"""From a digest to bytes: finding, opening, following and failing over."""
