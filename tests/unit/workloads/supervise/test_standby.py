"""A standby pod holds its node until it is told to end, and then ends at once."""

import os
import signal
import subprocess
import sys

from deepseek_workloads.contract import environment

POD = {
    environment.ROLE: environment.ROLE_STANDBY,
    environment.POD_NAME: "dsjob-tiny-standby-3-1",
    environment.POD_IP: "10.0.0.7",
    environment.COORDINATOR_HOST: "dsjob-tiny-coordinator.research.svc",
    environment.JOB_TOKEN: "token",
}


def test_it_holds_until_it_is_told_to_end() -> None:
    program = (
        "import signal, sys\n"
        "waits = signal.sigwait\n"
        "def sigwait(signals):\n"
        "    print('holds', flush=True)\n"
        "    return waits(signals)\n"
        "signal.sigwait = sigwait\n"
        "from deepseek_workloads.supervise.__main__ import main\n"
        "sys.exit(main())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], env={**os.environ, **POD}, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
