"""`python -m adbazureml`, which is the command `adbazureml`."""

from adbazureml.command_line import main

if __name__ == "__main__":
    main()
