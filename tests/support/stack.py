"""The real stack: two sites with Kafka, MirrorMaker 2 between them, and a synchronous PostgreSQL pair.

As a library:

    with Stack(policy="identity", topics={"orders": 1}) as stack:   # ends with this program, however it ends
        stack.brokers["p"], stack.brokers["s"]                      # HOST:PORT
        stack.ledger                                                # conninfo with both hosts, as --ledger wants it
        stack.kill_site("p")                                        # SIGKILL for broker, MM2 and PostgreSQL primary

`./dev stack` (stack_command.py) leaves one running to play with.

Parts by name: kafka_p, kafka_s, mm2, pg_p (primary), pg_s (standby, application_name dr), toxiproxy. Everything lies
in one directory and listens on loopback, at ports that were free. PostgreSQL runs without fsync: these are process
deaths, not power cuts.
"""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
import uuid
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import kafka_admin  # noqa: E402
import parts  # noqa: E402
from processes import NotReady, Processes, wait_for  # noqa: E402

POLICIES = ("identity", "default", "none")
SITES = {"p": ("kafka_p", "mm2", "pg_p"), "s": ("kafka_s", "pg_s")}
PG_BIN = Path("/usr/lib/postgresql/15/bin")
DATABASE = "lockstep"

LOG4J = """<Configuration><Appenders><Console name="out"><PatternLayout pattern="%d %p %c %m%n"/></Console></Appenders>
<Loggers><Root level="warn"><AppenderRef ref="out"/></Root></Loggers></Configuration>
"""


def free_ports(count):
    """Ports nobody listens on, below the range that the kernel hands out for outgoing connections."""
    ports, probes = [], []
    while len(ports) < count:
        probe = socket.socket()
        try:
            probe.bind(("127.0.0.1", random.randint(12000, 31000)))
        except OSError:
            probe.close()
            continue
        probes.append(probe)
        ports.append(probe.getsockname()[1])
    for probe in probes:
        probe.close()
    return ports


def properties(settings):
    return "".join(f"{name}={value}\n" for name, value in settings.items())


class Stack:
    """One running stack. `directory` must be empty or absent; without it a temporary one is made."""

    def __init__(
        self,
        directory=None,
        policy="identity",
        topics=None,  # {name: partitions}, created at p before the mirror starts
        mirror=".*",  # MirrorMaker 2's topics, a regular expression or a list
        kafka=True,  # False: the PostgreSQL pair alone
        toxiproxy=False,
        detached=False,  # outlives this program
        hba=None,  # a line that pg_hba.conf begins with; else everybody on loopback is trusted
        pg_settings=None,  # for both postgresql.conf; strings bring their own quotes
        keep_log=None,  # a folder to copy the logs to when it goes down
    ):
        if policy not in POLICIES:
            raise ValueError(f"policy {policy}: one of {', '.join(POLICIES)}")
        if directory is None:
            directory = tempfile.mkdtemp(prefix="lockstep-stack-")
        self.directory = Path(directory).resolve()
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o711)  # the postgres user passes through
        self.policy, self.topics, self.mirror = policy, dict(topics or {}), mirror
        self.hba = hba
        self.pg_settings, self.keep_log = dict(pg_settings or {}), keep_log
        self.processes = Processes(self.directory)
        if not detached:
            self.processes.guard()
        names = ("pg_p", "pg_s") + (("kafka_p", "control_p", "kafka_s", "control_s") if kafka else ())
        if toxiproxy:
            names += ("toxiproxy", "via_pg_p", "via_pg_s", "via_replication") + (("via_kafka_p", "via_kafka_s") if kafka else ())
        self.port = dict(zip(names, free_ports(len(names))))
        self._kafka = kafka
        if kafka and shutil.which("java") is None:
            raise parts.PartMissing("Kafka needs a Java runtime: apt-get install openjdk-17-jre-headless")
        self._libs = parts.kafka_libs() if kafka else None
        self._pg_user = "postgres" if os.geteuid() == 0 else None
        try:
            self._start()
        except BaseException:
            tails = {name: self.processes.log_tail(name) for name in self.processes.parts if not self.processes.alive(name)}
            self.down()
            for name, tail in tails.items():
                print(f"--- {name} had ended:\n{tail}", file=sys.stderr)
            raise

    # --- what a test asks for -------------------------------------------------------------------------------------

    def address(self, part):
        """HOST:PORT of a part; `via_…` is the same part through toxiproxy."""
        return f"127.0.0.1:{self.port[part]}"

    @property
    def brokers(self):
        return {site: self.address(f"kafka_{site}") for site in SITES if self._kafka}

    def conninfo(self, part, database=DATABASE):
        return f"host=127.0.0.1 port={self.port[part]} dbname={database} user=postgres"

    @property
    def ledger(self):
        """Both hosts: the read-write one is the ledger, the standby the witness."""
        return f"host=127.0.0.1,127.0.0.1 port={self.port['pg_p']},{self.port['pg_s']} dbname={DATABASE} user=postgres"

    def mirror_topic(self, topic):
        """The name of the topic at the standby site."""
        return f"p.{topic}" if self.policy == "default" else topic

    @property
    def mm2_config(self):
        return self.directory / "mm2.properties"

    def sql(self, part, statement, check=True):
        """Runs SQL at pg_p or pg_s by psql; returns its unaligned rows as text."""
        done = subprocess.run(
            ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", self.conninfo(part)],
            input=statement,
            capture_output=True,
            text=True,
            timeout=120,
        )
        if check and done.returncode != 0:
            raise RuntimeError(f"SQL at {part}: {statement[:200]}: {done.stderr.strip()}")
        return done.stdout.strip()

    def create_topic(self, site, topic, partitions=1, config=None, exist_ok=False):
        kafka_admin.create_topic(self.brokers[site], topic, partitions, config, exist_ok=exist_ok)

    def end_offset(self, site, topic, partition=0):
        """The log end offset, or 0 while the topic is not there."""
        done = subprocess.run(
            ["kcat", "-Q", "-b", self.brokers[site], "-t", f"{topic}:{partition}:-1"], capture_output=True, text=True, timeout=60
        )
        answer = done.stdout.strip()
        return int(answer.rsplit(" ", 1)[1]) if done.returncode == 0 and answer else 0

    def kill_site(self, site, and_also=()):
        """The site dies: SIGKILL for all its parts at once, and for the programs named besides."""
        self.processes.kill([name for name in (*SITES[site], *and_also) if name in self.processes.parts])

    def kill(self, part):
        self.processes.kill([part])

    def pause(self, part):
        self.processes.send([part], signal.SIGSTOP)

    def resume(self, part):
        self.processes.send([part], signal.SIGCONT)

    def stop(self, part):
        """A clean end (PostgreSQL: fast shutdown)."""
        self.processes.stop(part, signal.SIGINT if part.startswith("pg_") else signal.SIGTERM)

    def restart(self, part):
        """Starts a killed or stopped part again, on its old data, and waits until it answers."""
        if part.startswith("kafka_"):
            self._spawn_kafka(part[-1])
            self._await_kafka(part[-1])
        elif part.startswith("pg_"):
            self._spawn_postgres(part)
            self._await_postgres(part)
        else:
            self._spawn_mm2()

    def promote(self):
        """The standby database becomes a primary (an inherited synchronous_standby_names stays as it is)."""
        self.sql("pg_s", "select pg_promote(true, 60)")

    def rejoin(self, part):
        """The database `part`, lost before, comes back as a new standby of the other one, which waits for it from then on."""
        other = "pg_s" if part == "pg_p" else "pg_p"
        data = self.directory / "pg" / part
        shutil.rmtree(data)
        conninfo = f"host=127.0.0.1 port={self.port[other]} user=postgres application_name=dr"
        self._pg_run(PG_BIN / "pg_basebackup", "-R", "-X", "stream", "-c", "fast", "-D", data, "-d", conninfo)
        self._pg_configure(data, {"port": self.port[part]})
        self._spawn_postgres(part)
        self._await_postgres(part)
        self.sql(other, "alter system set synchronous_standby_names = 'FIRST 1 (dr)'; select pg_reload_conf()")

    def toxic(self, proxy, kind, stream="downstream", **attributes):
        """Adds a fault to a proxy (`via_replication`, `via_pg_p`, …): toxic("via_pg_p", "latency", latency=20)."""
        body = {"name": f"{kind}_{stream}", "type": kind, "stream": stream, "attributes": attributes}
        self._toxiproxy(f"/proxies/{proxy}/toxics", body)

    def enable_proxy(self, proxy, enabled):
        """A disabled proxy cuts its connections and refuses new ones."""
        self._toxiproxy(f"/proxies/{proxy}", {"enabled": enabled})

    def down(self):
        if self.keep_log and self.directory.exists():
            shutil.copytree(self.processes.log_dir, self.keep_log, dirs_exist_ok=True)
        self.processes.destroy()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.down()

    # --- how it starts --------------------------------------------------------------------------------------------

    def _start(self):
        (self.directory / "log4j2.xml").write_text(LOG4J)
        if "toxiproxy" in self.port:
            self._start_toxiproxy()
        for site in SITES if self._kafka else ():
            self._configure_kafka(site)
            self._spawn_kafka(site)
        self._init_postgres()
        self._spawn_postgres("pg_p")
        self._spawn_postgres("pg_s")
        self._await_postgres("pg_p")
        self._await_postgres("pg_s")
        self._await_replication()
        subprocess.run(["createdb", "-h", "127.0.0.1", "-p", str(self.port["pg_p"]), "-U", "postgres", DATABASE], check=True)
        wait_for("the database at the standby", lambda: self.sql("pg_s", "select 1", check=False) == "1", 30)  # Flushed is not replayed.
        if self._kafka:
            self._await_kafka("p")
            for topic, partitions in self.topics.items():
                self.create_topic("p", topic, partitions)
            self._await_kafka("s")
            if self.policy != "none":
                self._configure_mm2()
                self._spawn_mm2()
        self.processes.facts.update(policy=self.policy, ports=self.port, ledger=self.ledger, brokers=self.brokers)
        self.processes.save()

    def _java(self, heap, main, *arguments):
        return [
            "java", f"-Xmx{heap}", f"-Xms{heap}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
            f"-Dlog4j2.configurationFile={self.directory}/log4j2.xml", "-cp", f"{self._libs}/*", main, *arguments,
        ]  # fmt: skip

    def _configure_kafka(self, site):
        data = self.directory / f"kafka_{site}"
        data.mkdir()
        listen = {"PLAINTEXT": self.port[f"kafka_{site}"], "CONTROLLER": self.port[f"control_{site}"]}
        advertised = {"PLAINTEXT": listen["PLAINTEXT"]}
        if "toxiproxy" in self.port:
            (listen["VIA"],) = free_ports(1)
            advertised["VIA"] = self.port[f"via_kafka_{site}"]
            self._proxy(f"via_kafka_{site}", listen["VIA"])

        def written(listeners):
            return ",".join(f"{name}://127.0.0.1:{port}" for name, port in listeners.items())

        # What `StorageTool format` would write, without starting a JVM for it.
        cluster_id, directory_id = (uuid.uuid4().hex[:22] for _ in range(2))
        (data / "meta.properties").write_text(
            properties({"version": 1, "cluster.id": cluster_id, "node.id": 1, "directory.id": directory_id})
        )
        (self.directory / f"kafka_{site}.properties").write_text(
            properties(
                {
                    "process.roles": "broker,controller",
                    "node.id": 1,
                    "controller.quorum.voters": f"1@127.0.0.1:{listen['CONTROLLER']}",
                    "listeners": written(listen),
                    "advertised.listeners": written(advertised),
                    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,VIA:PLAINTEXT",
                    "inter.broker.listener.name": "PLAINTEXT",
                    "controller.listener.names": "CONTROLLER",
                    "log.dirs": data,
                    "auto.create.topics.enable": "false",
                    "offsets.topic.replication.factor": 1,
                    "offsets.topic.num.partitions": 1,
                    "transaction.state.log.replication.factor": 1,
                    "transaction.state.log.min.isr": 1,
                    "transaction.state.log.num.partitions": 1,
                    "group.initial.rebalance.delay.ms": 0,
                    "log.cleaner.dedupe.buffer.size": 4194304,
                    "num.network.threads": 2,
                    "num.io.threads": 4,
                }
            )
        )

    def _spawn_kafka(self, site):
        self.processes.spawn(f"kafka_{site}", self._java("512m", "kafka.Kafka", self.directory / f"kafka_{site}.properties"))

    def _await_kafka(self, site):
        self._await(f"kafka_{site}", lambda: kafka_admin.ready(self.brokers[site]))

    def _configure_mm2(self):
        settings = {
            "clusters": "p, s",
            "p.bootstrap.servers": self.brokers["p"],
            "s.bootstrap.servers": self.brokers["s"],
            "p->s.enabled": "true",
            "s->p.enabled": "false",
            "p->s.topics": self.mirror,
            "refresh.topics.interval.seconds": 1,
            "sync.topic.configs.interval.seconds": 10,
            "sync.topic.acls.enabled": "false",
            "refresh.groups.enabled": "false",
            # No search through all of the classpath: saves 7 s. The worker takes it from its target cluster.
            "plugin.discovery": "service_load",
            "s.plugin.discovery": "service_load",
            # Without heartbeats no herder runs for the way back.
            "emit.heartbeats.enabled": "false",
            "emit.checkpoints.enabled": "false",
            "offset.lag.max": 0,
            "offset.flush.interval.ms": 1000,
            "scheduled.rebalance.max.delay.ms": 0,
            "replication.factor": 1,
            "offset-syncs.topic.replication.factor": 1,
        }
        for storage in ("offset", "status", "config"):
            settings[f"{storage}.storage.replication.factor"] = 1
        for storage in ("offset", "status"):
            settings[f"{storage}.storage.partitions"] = 1
        if self.policy == "identity":
            settings["replication.policy.class"] = "org.apache.kafka.connect.mirror.IdentityReplicationPolicy"
        self.mm2_config.write_text(properties(settings))

    def _spawn_mm2(self):
        self.processes.spawn("mm2", self._java("512m", "org.apache.kafka.connect.mirror.MirrorMaker", self.mm2_config))

    def _pg_run(self, *argv):
        as_user = {"user": self._pg_user, "group": self._pg_user, "extra_groups": []} if self._pg_user else {}
        done = subprocess.run([str(word) for word in argv], cwd=self.directory, capture_output=True, text=True, timeout=120, **as_user)
        if done.returncode != 0:
            raise RuntimeError(f"{argv[0]}: {done.stderr.strip()}")

    def _init_postgres(self):
        """initdb once; the standby starts from a copy taken before the first start, which is cheaper than a base backup."""
        databases = self.directory / "pg"
        databases.mkdir()
        if self._pg_user:
            shutil.chown(databases, self._pg_user)
        primary, standby = databases / "pg_p", databases / "pg_s"
        self._pg_run(PG_BIN / "initdb", "-D", primary, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
        if self.hba:
            trusting = (primary / "pg_hba.conf").read_text()
            (primary / "pg_hba.conf").write_text(f"{self.hba}\n{trusting}")
        self._pg_run("cp", "-a", primary, standby)
        common = {
            "listen_addresses": "'127.0.0.1'",
            "unix_socket_directories": "''",
            "fsync": "off",
            "wal_level": "logical",
            "max_wal_senders": 10,
            "max_replication_slots": 10,
            "max_connections": 200,
            "max_prepared_transactions": 10,
            "wal_keep_size": "'1GB'",
            "max_wal_size": "'4GB'",
            "wal_receiver_status_interval": "1s",
            "log_min_messages": "warning",
            **self.pg_settings,
        }
        replication = self.port.get("via_replication", self.port["pg_p"])
        self._pg_configure(primary, {**common, "port": self.port["pg_p"], "synchronous_standby_names": "'FIRST 1 (dr)'"})
        self._pg_configure(
            standby,
            {
                **common,
                "port": self.port["pg_s"],
                "synchronous_standby_names": "''",
                "primary_conninfo": f"'host=127.0.0.1 port={replication} user=postgres application_name=dr'",
            },
        )
        signal_file = standby / "standby.signal"
        signal_file.touch()
        if self._pg_user:
            shutil.chown(signal_file, self._pg_user)
        if "toxiproxy" in self.port:
            self._proxy("via_replication", self.port["pg_p"])
            self._proxy("via_pg_p", self.port["pg_p"])
            self._proxy("via_pg_s", self.port["pg_s"])

    @staticmethod
    def _pg_configure(data, settings):
        with open(data / "postgresql.conf", "a") as conf:
            conf.write("".join(f"{name} = {value}\n" for name, value in settings.items()))

    def _spawn_postgres(self, part):
        data = self.directory / "pg" / part
        (data / "postmaster.pid").unlink(missing_ok=True)  # of one that was killed; its pid may be somebody else's by now
        self.processes.spawn(part, [PG_BIN / "postgres", "-D", data], user=self._pg_user, env={"LC_ALL": "C"})

    def _await_postgres(self, part):
        ready = [PG_BIN / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port[part])]
        self._await(part, lambda: subprocess.run(ready).returncode == 0)

    def _await_replication(self):
        query = ["psql", "-XAtc", "select sync_state from pg_stat_replication", "-d", self.conninfo("pg_p", "postgres")]
        wait_for("synchronous standby", lambda: subprocess.run(query, capture_output=True, text=True).stdout.strip() == "sync", 30)

    def _await(self, part, condition):
        def ready():
            if not self.processes.alive(part):
                raise NotReady(f"{part} ended while starting:\n{self.processes.log_tail(part)}")
            return condition()

        wait_for(part, ready, 90)

    def _start_toxiproxy(self):
        self.processes.spawn("toxiproxy", [parts.toxiproxy_server(), "-host", "127.0.0.1", "-port", self.port["toxiproxy"]])

        def answers():
            try:
                self._toxiproxy("/version")
                return True
            except OSError:
                return False

        self._await("toxiproxy", answers)

    def _proxy(self, name, upstream_port):
        self._toxiproxy(
            "/proxies", {"name": name, "listen": self.address(name), "upstream": f"127.0.0.1:{upstream_port}", "enabled": True}
        )

    def _toxiproxy(self, path, body=None):
        request = urllib.request.Request(
            f"http://{self.address('toxiproxy')}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read()


if __name__ == "__main__":
    import stack_command

    sys.exit(stack_command.main())
