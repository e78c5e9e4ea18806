"""A host on VLAN 50 of a wire, where the kernel has no VLANs: argv[1] is the wire, argv[2] a TAP.

Prints how many frames with other tags, or none, it has seen, whenever that changes.
"""

import fcntl
import os
import select
import socket
import struct
import sys

SOL_PACKET, PACKET_AUXDATA, PACKET_IGNORE_OUTGOING = 263, 8, 23
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 2, 0x1000
VLAN = 50

wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
wire.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
wire.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
wire.bind((sys.argv[1], 3))
tap = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", sys.argv[2].encode(), IFF_TAP | IFF_NO_PI))
print("ready", flush=True)
while True:
    ready, _, _ = select.select([wire, tap], [], [])
    if wire in ready:
        frame, messages, _, _ = wire.recvmsg(70000, 64)
        control = 0
        for level, kind, octets in messages:
            if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
                status, _, _, _, _, control, kind = struct.unpack("IIIHHHH", octets[:20])
                control = control if status & 16 and kind == 0x8100 else 0
        if control & 0xFFF == VLAN:
            os.write(tap, frame)
        else:
            print(f"other {control & 0xFFF} {frame[12:14].hex()}", flush=True)
    if tap in ready:
        frame = os.read(tap, 70000)
        wire.send(frame[:12] + struct.pack("!HH", 0x8100, VLAN) + frame[12:])
