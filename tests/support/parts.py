"""What the real stack is made of and no Debian package holds: Kafka's jars and toxiproxy.

Both are fetched once into a cache (`.cache/` of the source tree, or $LOCKSTEP_CACHE) by their ordinary clients,
Maven and Go. A stamp file says that a part is complete; callers that come at the same time wait for each other.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

SUPPORT = Path(__file__).resolve().parent
SOURCE = SUPPORT.parent.parent
TOXIPROXY = "github.com/Shopify/toxiproxy/v2/cmd/server@v2.5.0"


class PartMissing(Exception):
    """A part could not be had; the message says what was tried and what came back."""


def cache_dir():
    path = Path(os.environ.get("LOCKSTEP_CACHE") or SOURCE / ".cache")
    path.mkdir(parents=True, exist_ok=True)
    return path.resolve()


@contextlib.contextmanager
def _locked(name):
    with open(cache_dir() / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(argv, **options):
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode != 0:
        raise PartMissing(f"{' '.join(map(str, argv))}: exit {done.returncode}\n{done.stdout[-2000:]}")


def kafka_libs():
    """The folder with Kafka's and MirrorMaker 2's jars; the first call fetches them (54 MB)."""
    pom = SUPPORT / "kafka-pom.xml"
    folder = cache_dir() / "kafka"
    libs, stamp = folder / "libs", folder / "stamp"
    with _locked("kafka"):
        wanted = hashlib.sha256(pom.read_bytes()).hexdigest()
        have = f"{wanted} {len(list(libs.glob('*.jar')))}"
        if not stamp.exists() or stamp.read_text() != have:
            if shutil.which("mvn") is None:
                raise PartMissing("Kafka's jars are fetched by Maven, which is not installed: apt-get install maven")
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            # A copy of the pom keeps Maven from writing a target/ into the source tree.
            shutil.copy(pom, folder / "pom.xml")
            _run(["mvn", "-q", "-B", "-f", folder / "pom.xml", "dependency:copy-dependencies", f"-DoutputDirectory={libs}"])
            stamp.write_text(f"{wanted} {len(list(libs.glob('*.jar')))}")
    return libs


def toxiproxy_server():
    """The toxiproxy server program; the first call builds it with Go."""
    binaries = cache_dir() / "bin"
    program = binaries / f"toxiproxy-{TOXIPROXY.rsplit('@', 1)[1]}"
    with _locked("toxiproxy"):
        if not program.exists():
            go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin:/usr/lib/go/bin")
            if go is None:
                raise PartMissing("toxiproxy is built with Go, which is not installed: apt-get install golang-go")
            home = cache_dir() / "go"
            _run(
                [go, "install", TOXIPROXY],
                env={**os.environ, "GOFLAGS": "-mod=mod -modcacherw", "GOPATH": str(home), "GOBIN": str(binaries), "GOCACHE": str(home / "build")},
            )
            (binaries / "server").rename(program)
            shutil.rmtree(home, ignore_errors=True)
    return program
