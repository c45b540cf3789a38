"""`python -m osteon`, and `torchrun -m osteon` for trainings in several processes."""

from osteon.cli import main

if __name__ == "__main__":
    main(prog_name="osteon")
