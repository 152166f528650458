"""functions-framework as deployed, but without gunicorn's control socket: `python -m infra.local.function --source …`.

gunicorn opens $HOME/.gunicorn/gunicorn.ctl unless told not to, which the framework has no option for. In the cloud each
container has its own; here all functions would fight over one file in the developer's home.
"""

from functions_framework._cli import _cli
from gunicorn.config import ControlSocketDisable


def main() -> None:
    """Serve one function until SIGTERM."""
    ControlSocketDisable.default = True
    _cli(prog_name="functions-framework")


if __name__ == "__main__":
    main()
