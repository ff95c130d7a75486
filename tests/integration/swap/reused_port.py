# Copyright: Contributors to evenkeel.fleet
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""python reused_port.py ADDRESS SOURCE PORT: sends a request from the port SOURCE and prints the answer's body."""

from __future__ import annotations

import socket
import sys

address, source, port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with socket.create_connection((address, port), 5, (address, source)) as client:
    client.sendall(b"GET / HTTP/1.0\r\n\r\n")
    answer = b""
    while chunk := client.recv(4096):
        answer += chunk
print(answer.decode().partition("\r\n\r\n")[2])
