"""Entry point of ``edgevision`` and ``python -m edgevision``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        from edgevision.cli.app import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # while the command line itself was still loading
        sys.stderr.write("interrupted\n")
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
