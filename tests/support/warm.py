"""A Python that has imported everything already, so that a process of a study starts in a tenth of a second.

A server imports Snakemake, torch and what the scripts use; `WarmPython.run` has it fork and run `-m module`, `-c code`
or a script with the arguments, folder, environment and streams of the caller. A small executable does the same for
others: Snakemake takes it for its Python, so that each job of a study is forked too. All that runs is what would run
in a new Python; only the imports are done before.
"""

import gc
import json
import os
import pkgutil
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import psutil
from filelock import FileLock

PRELOADED = (
    *("snakemake.cli", "snakemake.script", "snakemake_executor_plugin_slurm", "jsonschema", "torch", "torchvision"),
    # What Snakemake imports when it runs.
    *("docutils.core", "docutils.parsers.rst.states", "smart_open", "nbformat", "dpath", "yte", "argparse_dataclass"),
    *("snakemake.assets", "snakemake.profiles", "snakemake.report.html_reporter", "snakemake.storage"),
    *("diffusers", "pandas", "pyarrow.parquet", "matplotlib.figure", "scipy.stats", "safetensors.torch", "jinja2"),
    *("mlxtend.data", "webdataset", "dit_scaling"),
)
"""Of our package, all modules."""
STARTUP = "WARM_PYTHON_STARTUP"
"""Environment variable: files that are run first, as Python runs sitecustomize."""
PATIENCE = 600.0  # seconds that the server may take to import, on a machine that is busy with other things

CLIENT = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    request = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(server, [len(request).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(request)
    answer = server.recv(8)
sys.exit(int(answer or b"1"))
"""


class WarmPython:
    """The executable of the server of this session of tests, which the first process that needs it starts.

    The server ends with the session, however that ends, and deletes its folder.
    """

    def __init__(self) -> None:
        owner = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
        # Numbers of processes come again, as in each new container.
        began = psutil.Process(owner).create_time()
        folder = Path(tempfile.gettempdir(), f"warm-python-{owner}-{began:.0f}")
        folder.mkdir(mode=0o700, exist_ok=True)
        self.executable, address = folder / "python", folder / "socket"
        with FileLock(folder / "lock"):
            if not address.exists():
                self.executable.write_text(CLIENT.format(python=sys.executable, address=str(address)))
                self.executable.chmod(0o755)
                command = [sys.executable, __file__, str(address), str(self.executable), str(owner)]
                _wait_for(address, subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True))

    def run(
        self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Run a Python with ``arguments`` in ``folder``, without input."""
        return subprocess.run(
            [str(self.executable), *arguments],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )


def _wait_for(address: Path, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + PATIENCE
    while not address.exists():
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("the server of warm Pythons did not start; its error stands above")
        time.sleep(0.05)


def serve(address: str, executable: str, owner: str) -> None:
    """Fork a handler for each caller, until the process ``owner`` ends."""
    ended = os.pidfd_open(int(owner))
    for name in PRELOADED:
        module = import_module(name)
        if name == "dit_scaling":
            for found in pkgutil.walk_packages(module.__path__, f"{name}."):
                if not found.name.endswith("__main__"):
                    import_module(found.name)
    import_module("snakemake.cli").get_argument_parser()  # finds and imports Snakemake's plugins, once per process
    gc.freeze()
    signal.signal(signal.SIGCHLD, _reap)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        while ended not in select.select([listener, ended], [], [])[0]:
            caller, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                os._exit(handle(caller, executable))
            caller.close()
    shutil.rmtree(Path(address).parent)
    os._exit(0)  # Taking down all that was imported takes time, and some of it complains.


def _reap(*_: object) -> None:
    """Take leave of the handlers that ended, so that their CPU time counts as this process's."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def handle(caller: socket.socket, executable: str) -> int:
    """Run what one caller asks for, tell it the exit code, and end it where the caller is gone."""
    size, streams, _, _ = socket.recv_fds(caller, 8, 3)
    request = b""
    while len(request) < int.from_bytes(size, "big"):
        request += caller.recv(1 << 20)
    job = os.fork()
    if job == 0:
        caller.close()
        arguments, folder, environment = json.loads(request)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os._exit(execute(arguments, folder, environment, executable))
    for stream in streams:
        os.close(stream)
    ended = os.pidfd_open(job)
    readable, _, _ = select.select([caller, ended], [], [])
    if ended not in readable:
        os.kill(job, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(job, 0)[1])
    if ended in readable:
        caller.sendall(str(code % 256).encode())
    return 0


def execute(arguments: list[str], folder: str, environment: dict[str, str], executable: str) -> int:
    """What Python does from its command line on; its exit code."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    import_module("huggingface_hub.constants").HF_HUB_OFFLINE = (
        environment.get("HF_HUB_OFFLINE") == "1"
    )  # read on import
    try:
        for startup in filter(None, environment.get(STARTUP, "").split(os.pathsep)):
            runpy.run_path(startup)
        if arguments[0] == "-m":
            # Snakemake starts its jobs by this name.
            sys.executable = executable if arguments[1] == "snakemake" else sys.executable
            sys.argv, sys.path[0] = arguments[1:], folder
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        elif arguments[0] == "-c":
            sys.argv, sys.path[0] = ["-c", *arguments[2:]], folder
            exec(arguments[1], {"__name__": "__main__"})
        else:
            sys.argv, sys.path[0] = arguments, str(Path(arguments[0]).resolve().parent)
            runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    else:
        code = 0
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    serve(*sys.argv[1:])
