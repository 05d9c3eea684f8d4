"""One file per family of formats, each with ``read(path, key) -> Raw`` and ``write(dataset, path)``."""
