"""Text with tags: Python's own source code, Universal Dependencies, splits and batches."""

__all__: list[str] = []
