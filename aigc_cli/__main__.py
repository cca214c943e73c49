"""The command `aigc`, which `python -m aigc_cli` and `torchrun -m aigc_cli train …` start too."""

import signal


def main() -> None:
    """Run the command line. Ctrl-C ends it without a traceback even while it is imported."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from aigc_cli.app import main

    main()


if __name__ == "__main__":
    main()
