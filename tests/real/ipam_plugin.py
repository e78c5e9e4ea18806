"""The example of an IPAM driver, which can be made to fail.

ipam_plugin.py EXAMPLE SOCKET STATE FAULTS LOG: before each answer FAULTS is read, JSON by call:
what to do instead, and how many calls to let pass before. LOG gets a line for each call.
"""

import importlib.util
import json
import sys
import threading
import time

_, example, socket, state, faults, log = sys.argv
spec = importlib.util.spec_from_file_location("custom_ipam", example)
custom_ipam = importlib.util.module_from_spec(spec)
spec.loader.exec_module(custom_ipam)
lock, seen = threading.Lock(), {}


class Handler(custom_ipam.Handler):
    def do_POST(self):
        call = self.path.lstrip("/")
        with open(faults) as file:
            told = json.load(file)
        fault = told.get(call, {})
        with lock:
            key = (call, json.dumps(fault))
            seen[key] = seen.get(key, 0) + 1
            is_due = fault and seen[key] > fault.get("after", 0)
            with open(log, "a") as file:
                print(call, file=file, flush=True)
        if is_due:
            time.sleep(fault.get("delay", 0))
            if "raw" in fault or "drop" in fault:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.close_connection = True
                if "raw" in fault:
                    self.reply(fault.get("status", 200), fault["raw"].encode())
                return
        super().do_POST()


class Driver(custom_ipam.Driver):
    def answer(self, call, request):
        status, answer = super().answer(call, request)
        if call == "IpamDriver.GetCapabilities":
            with open(faults) as file:
                answer.update(json.load(file).get("capabilities", {}))
        return status, answer


custom_ipam.serve(socket, Driver(state), Handler)
