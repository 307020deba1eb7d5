#!/usr/bin/env python3
"""Builds a server of this folder and starts it: bench/servers/start.py NAME PORT"""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent


def main():
    names = sorted(it.parent.name for it in HERE.glob("*/server.toml"))
    if len(sys.argv) != 3 or sys.argv[1] not in names or not sys.argv[2].isdigit():
        sys.exit(f"usage: {sys.argv[0]} NAME PORT; NAME is one of {', '.join(names)}")
    name, port = sys.argv[1:]
    os.chdir(HERE / name)
    server = tomllib.loads(Path("server.toml").read_text())
    if "build" in server:
        subprocess.run(server["build"], check=True)
    command = [word.replace("{port}", port) for word in server["command"]]
    os.execvp(command[0], command)


main()
