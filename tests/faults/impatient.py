"""`lapel` with a supervisor that restarts without a growing delay: no test can wait for 200 backoffs."""

from lapel.cli.main import main
from lapel.hosting import children

children.LONGEST_DELAY = children.FIRST_DELAY

if __name__ == "__main__":
    main()
