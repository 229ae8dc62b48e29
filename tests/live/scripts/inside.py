"""Given: a rotrace, options for it, and behind `--` a command line, in a PID namespace of their own. Gives: what rotrace prints
about the command, traced from its first instruction by its PID in this namespace, and before it that PID. Refuses to know: the rest.
"""

import subprocess
import sys

between = sys.argv.index("--")
rotrace, options, command = sys.argv[1], sys.argv[2:between], sys.argv[between + 1 :]
held = subprocess.Popen(["/bin/sh", "-c", 'read -r _ && exec "$@"', "sh", *command], stdin=subprocess.PIPE)
print(held.pid, flush=True)
tracer = [rotrace, "attach", str(held.pid), "--format", "json", *options]
tracer = subprocess.Popen(tracer, stderr=subprocess.PIPE, text=True)
said = []
for line in tracer.stderr:
    said.append(line)
    if "rotrace: attached" in line:
        break
else:
    held.kill()
    sys.exit("rotrace did not attach: " + "".join(said))
held.communicate(b"\n")
sys.stderr.write(tracer.stderr.read())
if held.returncode:
    sys.exit(f"the command ended with {held.returncode}")
sys.exit(tracer.wait())
