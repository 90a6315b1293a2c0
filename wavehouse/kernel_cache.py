"""Where numba keeps what it compiled: a folder named by the kernels' source.

With ``cache=True`` numba looks at the changed file alone: a helper that changed in another file is
served stale. A folder a source hash cannot be.
"""

import hashlib
import os
from pathlib import Path


def use_kernel_cache() -> None:
    """Point ``NUMBA_CACHE_DIR`` at the folder of these kernels, unless it points somewhere."""
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for path in sorted((root / "kernels").glob("*.py")):
        digest.update(path.read_bytes())
    folder = root / ".numba_cache" / digest.hexdigest()[:12]
    os.environ.setdefault("NUMBA_CACHE_DIR", str(folder))
