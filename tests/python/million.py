"""Prints an export with many sessions, each with a subscription, and as many queued messages.

    python million.py 1000000 | bitts store import --from - --data-dir DIR
"""

import json
import sys


def lines(count):
    yield {"kind": "export", "format": 1, "identity": "0f" * 16, "shards": 2}
    for number in range(count):
        client_id = f"device-{number:07}"
        yield {"kind": "session", "clientId": client_id, "protocol": "5", "expirySeconds": 2592000,
               "keepAliveSeconds": 60, "versionNumber": 1, "connection": f"{number:032x}",
               "disconnected": {"atUnixMs": 1767225600000, "reason": "CONNECTION_LOST"},
               "subscriptions": [{"filter": f"devices/{number}/commands/#", "qos": 1}]}
        log = {"shard": number % 2, "number": number + 1}
        yield {"kind": "message", "log": log, "topic": f"devices/{number}/commands/on", "qos": 1,
               "acceptedUnixMs": 1767225600000, "payload": "x" * 100}
        yield {"kind": "owed", "clientId": client_id, "number": 1, "qos": 1, "message": log}


def main():
    count = 0
    for line in lines(int(sys.argv[1])):
        print(json.dumps(line, separators=(",", ":")))
        count += 1
    print(json.dumps({"kind": "end", "lines": count}))


if __name__ == "__main__":
    main()
