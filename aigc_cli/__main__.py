"""`python -m aigc_cli`, which `torchrun -m aigc_cli train …` starts too."""

from aigc_cli.app import main

if __name__ == "__main__":
    main()
