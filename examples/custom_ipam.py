#!/usr/bin/env python3
"""An IPAM driver: gives networks their subnets and endpoints their addresses.

It speaks Docker's remote IPAM protocol, so weft and Docker Engine use it alike:

    python3 custom_ipam.py ~/plugins/custom-ipam.sock custom-ipam.json
    weft network create --ipam-driver custom-ipam --subnet 192.168.10.0/24 blue

The name of the socket is the name of the driver. What was given is in the file, and is written
before it is answered for, so the driver can be stopped and started at any time. Gateways get the
lowest free address, everybody else the highest.
"""

import ipaddress
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingMixIn, UnixStreamServer


class Refused(Exception):
    """A request that cannot be granted; the text is shown to the user."""


class Driver:
    """Who has which address. One request at a time."""

    def __init__(self, file):
        self.file, self.lock = file, threading.Lock()
        try:
            with open(file) as kept:
                self.pools = json.load(kept)
        except FileNotFoundError:
            self.pools = {}

    def answer(self, call, request):
        methods = {
            "Plugin.Activate": lambda _: {"Implements": ["IpamDriver"]},
            "IpamDriver.GetCapabilities": lambda _: {
                "RequiresMACAddress": False,
                "RequiresRequestReplay": False,
            },
            "IpamDriver.GetDefaultAddressSpaces": lambda _: {
                "LocalDefaultAddressSpace": "local",
                "GlobalDefaultAddressSpace": "global",
            },
            "IpamDriver.RequestPool": self.request_pool,
            "IpamDriver.ReleasePool": self.release_pool,
            "IpamDriver.RequestAddress": self.request_address,
            "IpamDriver.ReleaseAddress": self.release_address,
        }
        if call not in methods:
            return 404, {"Err": f"{call} is not known here"}
        with self.lock:
            try:
                return 200, methods[call](request)
            except (Refused, KeyError, ValueError) as error:
                # IPAM drivers say it in Error; the status stays 200.
                return 200, {"Error": str(error)}

    def request_pool(self, request):
        if request["Pool"]:
            subnet = ipaddress.ip_network(request["Pool"])
        else:
            subnet = self.choose(request["V6"])
        for other in self.pools.values():
            other = ipaddress.ip_network(other["subnet"])
            if self.overlap(subnet, other):
                raise Refused(f"{subnet} overlaps {other}")
        pool = f"{request['AddressSpace']}/{subnet}"
        within = request["SubPool"] or str(subnet)
        self.pools[pool] = {"subnet": str(subnet), "within": within, "taken": {}}
        self.keep()
        return {"PoolID": pool, "Pool": str(subnet), "Data": {}}

    @staticmethod
    def overlap(one, other):
        return one.version == other.version and one.overlaps(other)

    def choose(self, is_ipv6):
        base = "fd00:200::/48" if is_ipv6 else "10.200.0.0/16"
        taken = [ipaddress.ip_network(pool["subnet"]) for pool in self.pools.values()]
        for subnet in ipaddress.ip_network(base).subnets(new_prefix=64 if is_ipv6 else 24):
            if not any(self.overlap(subnet, other) for other in taken):
                return subnet
        raise Refused("no subnet is left")

    def release_pool(self, request):
        # Whatever was taken of it is free with it.
        self.pools.pop(request["PoolID"], None)
        self.keep()
        return {}

    def request_address(self, request):
        pool = self.pools.get(request["PoolID"])
        if pool is None:
            raise Refused(f"there is no pool {request['PoolID']}")
        subnet, options = ipaddress.ip_network(pool["subnet"]), request["Options"] or {}
        is_gateway = options.get("RequestAddressType") == "com.docker.network.gateway"
        if request["Address"]:
            address = ipaddress.ip_address(request["Address"])
            if address not in subnet:
                raise Refused(f"{address} is not in {subnet}")
            if str(address) in pool["taken"]:
                raise Refused(f"address {address} in use")
        else:
            within = ipaddress.ip_network(pool["within"])
            address = self.free(within, subnet, pool["taken"], is_gateway)
        name = options.get("com.docker.network.endpoint.name", "")
        pool["taken"][str(address)] = "gateway" if is_gateway else name
        self.keep()
        return {"Address": f"{address}/{subnet.prefixlen}", "Data": {}}

    @staticmethod
    def free(within, subnet, taken, is_gateway):
        ends = (subnet.network_address, subnet.broadcast_address)
        count = min(within.num_addresses, 4096)
        for number in range(count):
            address = within[number if is_gateway else count - 1 - number]
            if address not in ends and str(address) not in taken:
                return address
        raise Refused(f"no address is left in {within}")

    def release_address(self, request):
        pool = self.pools.get(request["PoolID"])
        if pool is not None:
            pool["taken"].pop(request["Address"], None)
            self.keep()
        return {}

    def keep(self):
        with open(self.file + ".new", "w") as new:
            json.dump(self.pools, new, indent=1)
            new.flush()
            os.fsync(new.fileno())
        os.replace(self.file + ".new", self.file)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        octets = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        # Nobody says of what type it is, and a call without arguments has no body.
        request = json.loads(octets) if octets else {}
        status, answer = self.server.driver.answer(self.path.lstrip("/"), request)
        self.reply(status, json.dumps(answer).encode())

    def reply(self, status, octets):
        self.send_response(status)
        self.send_header("Content-Type", "application/vnd.docker.plugins.v1.2+json")
        self.send_header("Content-Length", str(len(octets)))
        self.end_headers()
        self.wfile.write(octets)

    def log_message(self, *_):
        pass

    # The other end of a unix socket has no address.
    def address_string(self):
        return ""


class Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True


def serve(socket, driver, handler=Handler):
    if os.path.exists(socket):
        os.unlink(socket)
    with Server(socket, handler) as server:
        server.driver = driver
        print("serving", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    serve(sys.argv[1], Driver(sys.argv[2]))
