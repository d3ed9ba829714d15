"""What an attack costs the server: its resident memory, sampled while the attack runs."""

import threading

MEBIBYTE = 1 << 20
# Sockets without a CONNECT: reliability.md §3 allows them 16 MiB of bytes.
BEFORE_CONNECT_BYTES = 24 * MEBIBYTE
# Any attack, over where the server was before it.
ATTACK_BYTES = 96 * MEBIBYTE


class Memory:
    """The highest resident memory between `start` and `end`."""

    PAUSE_SECONDS = 0.02

    def __init__(self, server):
        self.server = server
        self.before = self.peak = server.resident_bytes()
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.stopping.wait(self.PAUSE_SECONDS):
            self.peak = max(self.peak, self.server.resident_bytes())

    def end(self):
        """By how many bytes it grew at most."""
        self.stopping.set()
        self.thread.join()
        return max(self.peak, self.server.resident_bytes()) - self.before
