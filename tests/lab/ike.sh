# Sourced after lib.sh: tells a running `ike` what to do over its control socket, as serve does.

# ike_configure HOST LOCAL PEER:REQID VERSION PROPOSAL
ike_configure() {
  KEY=$KEY python3 - "$@" << 'PYTHON'
import os, sys
sys.path.insert(0, os.environ["LAB"] + "/../bench")
from ike import Ike, desired
host, local, peer, version, proposal = sys.argv[1:]
peer, reqid = peer.rsplit(":", 1)
ike = Ike(f"/tmp/n/{host}/run/ike.sock")
ike.configure(desired(local, [(peer, int(reqid))], os.environ["KEY"], int(version), proposal))
ike.wait(lambda states: peer in states)
PYTHON
}

# ike_standalone HOST: no peers any more.
ike_standalone() {
  python3 - "$1" << 'PYTHON'
import os, sys
sys.path.insert(0, os.environ["LAB"] + "/../bench")
from ike import Ike
ike = Ike(f"/tmp/n/{sys.argv[1]}/run/ike.sock")
ike.wait(lambda states: states)
ike.configure(None)
ike.wait(lambda states: not states)
PYTHON
}
