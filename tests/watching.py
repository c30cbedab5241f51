"""Whether the kernel of this machine tells which pages of memory were written."""

from nbckpt.storage.pages import Pages


def are_told() -> bool:
    """Whether memory can be watched here."""
    try:
        Pages().close()
    except OSError:
        return False
    return True
