"""The recipes of docs/testing.md work as they stand."""

import os
import re
import socket
import subprocess

import pytest

from server import BINARY, ROOT

PAGE = (ROOT / "docs" / "testing.md").read_text()
ENVIRONMENT = {**os.environ, "PATH": f"{BINARY.parent}{os.pathsep}{os.environ['PATH']}"}


def recipe(language):
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found, language
    return found[1]


@pytest.mark.parametrize("language,command,end", [
    ("python", ["python3", "-"], "\nprint(listeners['mqtt'], flush=True)\ninput()\n"
                                 "server.terminate()\nserver.wait()\n"),
    ("js", ["node", "-"], "\nconsole.log(JSON.parse(fs.readFileSync(ready, 'utf8')).mqtt);\n"
                          "process.on('SIGTERM', () => { server.kill(); process.exit(0); });\n"
                          "setInterval(() => {}, 1000);\n"),
])
def test_a_recipe_starts_a_server(tmp_path, language, command, end):
    script = tmp_path / f"recipe.{'py' if language == 'python' else 'cjs'}"
    script.write_text(recipe(language) + end)
    running = subprocess.Popen([command[0], script], env=ENVIRONMENT, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    try:
        host, port = next(line for line in running.stdout if line.startswith("127.0.0.1:")
                          ).strip().split(":")
        socket.create_connection((host, int(port)), timeout=5).close()
    finally:
        if language == "python":
            running.stdin.write("\n")
            running.stdin.flush()
        else:
            running.terminate()
        running.wait(timeout=10)
