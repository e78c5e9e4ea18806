"""A guest that sends what no honest guest would; run inside a sandbox."""

import random
import socket
import struct

SOL_PACKET, PACKET_VNET_HDR = 263, 15
SIZES = [0, 1, 5, 20, 46, 200, 1400, 1500, 1504, 3000]

random.seed(7)
plain = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
plain.bind(("eth0", 0))
own = plain.getsockname()[4]
lying = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
lying.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
lying.bind(("eth0", 0))

kinds = [b"\x08\x00", b"\x86\xdd", b"\x08\x06", b"\x81\x00", b"\x88\xb5"]
targets = [b"\xff" * 6, own, bytes.fromhex("0180c2000001"), bytes.fromhex("02feedfeed01")]
sources = [own, bytes(6), b"\xff" * 6, bytes.fromhex("010203040506"), random.randbytes(6)]
packet = bytes.fromhex("4500 0fb4 0000 4000 4006 0000 01020304 c0a80001")


def send(sock, octets):
    """The kernel refuses some; that is its good right."""
    try:
        sock.send(octets)
    except OSError:
        pass


for _ in range(3000):
    head = random.choice(targets) + random.choice(sources) + random.choice(kinds)
    send(plain, head + random.randbytes(random.choice(SIZES)))
for _ in range(3000):
    header = struct.pack(
        "<BBHHHH",
        random.choice([0, 1, 2, 3]),
        random.choice([0, 1, 3, 4, 5, 0x81, 0x83]),
        random.choice([0, 14, 34, 54, 65535]),
        random.choice([0, 1, 8, 536, 1448, 65535]),
        random.choice([0, 14, 34, 54, 1000, 65535]),
        random.choice([0, 6, 16, 65535]),
    )
    head = random.choice(targets) + own + random.choice(kinds)
    send(lying, header + head + packet + random.randbytes(random.choice([0, 20, 1000, 4000, 60000])))
print("done")
